"""A log beside our prediction of it: each term, the difference, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from inferwise.evidence.logs import llama_cpp
from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.row import Row, bytes_row, folded
from inferwise.memory.allocation import Allocation, Term
from inferwise.spec.hardware import Kind
from inferwise.units import GIB, MIB, human_bytes

NAMES = {
    "weights": ("weights",),
    "weights + non-torch": ("weights", "non-torch"),
    "activations": ("activations",),
    "non-torch": ("non-torch",),
    "graphs": ("graphs",),
    "kv pool": ("kv pool",),
    "recurrent": ("recurrent", "state slots"),
    "kv": ("kv",),
    "compute": ("compute",),
    "output": ("output",),
    "context": ("kv", "recurrent"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A log and its prediction, term by term. notes: what the prediction had to assume."""

    log: EngineLog
    allocation: Allocation
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it (docs/json.md)."""
        return {
            "prediction": self.allocation.to_dict(),
            "rows": [
                {
                    "term": row.term,
                    "device": row.device,
                    "unit": row.unit,
                    "logged": row.logged,
                    "predicted": row.predicted,
                    "difference": row.difference,
                    "relative": row.relative,
                    "resolution": row.resolution,
                    "explanation": row.explanation,
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
        }


def compare(log: EngineLog, allocation: Allocation) -> Comparison:
    """Each term of the log beside that of the prediction, and each of the prediction that the log does not print."""
    rows = list(_by_place(log, allocation) if log.engine == llama_cpp.NAME else _by_rank(log, allocation))
    if log.engine != llama_cpp.NAME:
        rows += _remainder(log, allocation)
        rows = [_explained_pool(row, rows, log, allocation) if row.term == "kv pool" else row for row in rows]
    rows += _counts(log, allocation)
    return Comparison(log=log, allocation=allocation, rows=tuple(rows), notes=tuple(_notes(log, allocation)))


def _by_rank(log: EngineLog, allocation: Allocation) -> Iterator[Row]:
    """vLLM and SGLang: of a term the rank with most of it; of the pool the one with least."""
    sizes = {folded(term.name): log.sizes(term.name) for term in log.terms}
    shown: set[str] = set()
    for name, by_rank in sizes.items():
        if name.startswith("draft ") or name == "graphs estimate":
            continue
        parts = NAMES.get(name, (name,))
        pick = min if name == "kv pool" else max
        logged, resolution = pick(by_rank.values())
        found = [(sum(_of(d.terms, part) for part in parts), d.terms) for d in allocation.devices]
        predicted, terms = pick(found, key=lambda each: each[0])
        known = any(folded(term.name) in parts for term in terms)
        shown.update(parts)
        spread = {size for size, _ in by_rank.values()}
        row = bytes_row(name, "", logged, predicted if known else None, resolution, _how(terms, parts))
        many = (
            f"; {len(by_rank)} ranks: {human_bytes(min(spread))} to {human_bytes(max(spread))}"
            if len(spread) > 1
            else ""
        )
        yield _explained(row, row.explanation + many)
    for term in allocation.devices[0].terms:
        if folded(term.name) not in shown and term.size_bytes:
            yield bytes_row(folded(term.name), "", None, term.size_bytes, 0, term.how)


def _by_place(log: EngineLog, allocation: Allocation) -> Iterator[Row]:
    """llama.cpp: each device's buffers, and the host's (mapped, repacked and pinned ones together)."""
    labels = [device.label for device in llama_cpp.used_devices(log)]
    on_cpu = all(each.device.kind is Kind.CPU for each in allocation.devices)
    places: list[tuple[str, tuple[Term, ...]]] = []
    if not on_cpu:
        places += [(label, each.terms) for label, each in zip(labels, allocation.devices, strict=False)]
        places.append(("host", allocation.host))
    else:
        on_devices = (term for each in allocation.devices for term in each.terms)
        places.append(("host", (*on_devices, *allocation.host, *allocation.disk)))  # a log counts pages to drop, too
    for place, terms in places:
        sizes: dict[str, tuple[int, int]] = {}
        for each in log.terms:
            label = "host" if llama_cpp.is_host(each.device) else each.device.split("_")[0]
            if label == place and each.name in NAMES:
                size, resolution = sizes.get(each.name, (0, 0))
                sizes[each.name] = size + each.size_bytes, resolution + each.resolution_bytes
        for name, (logged, resolution) in sizes.items():
            found = [term for term in terms if folded(term.name) in NAMES[name] or _is_part(term, name)]
            predicted = sum(term.size_bytes for term in found) if found else None
            yield bytes_row(
                name, place, logged, predicted, resolution, "; ".join(term.how for term in found if term.how)
            )
        for term in terms:
            if term.size_bytes and not any(folded(term.name) in NAMES[n] or _is_part(term, n) for n in sizes):
                yield bytes_row(folded(term.name), place, None, term.size_bytes, 0, term.how)


def _is_part(term: Term, name: str) -> bool:
    """Whether a term of ours is a part of a logged one: `mapped weights` and `repacked weights` of `weights`."""
    return folded(term.name).endswith(f" {name}") and not folded(term.name).startswith("draft ")


def _of(terms: tuple[Term, ...], name: str) -> int:
    return sum(term.size_bytes for term in terms if folded(term.name) == name)


def _how(terms: tuple[Term, ...], parts: tuple[str, ...]) -> str:
    return "; ".join(term.how for term in terms if folded(term.name) in parts and term.how)


def _explained(row: Row, explanation: str) -> Row:
    return replace(row, explanation=explanation)


def _remainder(log: EngineLog, allocation: Allocation) -> list[Row]:
    """vLLM prints activations and non-torch memory at debug level only: what the budget leaves beside the others."""
    weights, pool = log.largest("weights"), log.smallest("kv_pool")
    if log.engine != "vllm" or weights is None or pool is None or not _unprinted(log):
        return []
    device = min(allocation.devices, key=lambda each: each.capacity_bytes)
    share = log.utilization or allocation.case.setting("gpu_memory_utilization")
    budget = round(share * (log.total_bytes or device.capacity_bytes))
    names = ["activations", "non-torch", *(["graphs"] if _graphs_in_budget(allocation) else [])]
    row = bytes_row(
        " + ".join(names),
        "",
        budget - weights[0] - pool[0],
        sum(_of(device.terms, name) for name in names),
        weights[1] + pool[1],
        "",
    )
    whence = "the log's total" if log.total_bytes else "the device's memory, which the log does not tell"
    text = f"not printed: {share:.2f} x {whence} less weights and pool"
    return [_explained(row, f"{text}; {row.explanation}" if row.explanation else text)]


def _unprinted(log: EngineLog) -> bool:
    return not log.sizes("activations") and not log.sizes("non_torch") and not log.sizes("weights + non_torch")


def _graphs_in_budget(allocation: Allocation) -> bool:
    """Whether the log's version takes CUDA graphs off the pool."""
    return bool(allocation.case.engine.defaults.get("graphs_in_pool"))


def _explained_pool(pool: Row, rows: list[Row], log: EngineLog, allocation: Allocation) -> Row:
    """The pool is what is left: its difference is that of the others, with the sign turned, and of the device."""
    if pool.difference is None or pool.equal:
        return pool
    others = [
        (row.term, row.difference)
        for row in rows
        if row.term in _budget(log, allocation) and row.difference and not row.equal
    ]
    parts = [f"{term} {-difference / GIB:+.2f} GiB" for term, difference in others]
    device = min(allocation.devices, key=lambda each: each.capacity_bytes)
    seen = log.total_bytes
    if seen is not None and abs(seen - device.capacity_bytes) > MIB:
        parts.append(f"the device's memory {(device.capacity_bytes - seen) / GIB:+.2f} GiB")
    free = min((each.free_bytes for each in log.devices if each.free_bytes), default=None)
    if log.engine == "sglang" and free is not None and log.utilization is not None:
        ours = device.capacity_bytes - _of(device.terms, "others") - _of(device.terms, "non-torch")
        share = log.utilization * (ours - free) / GIB
        parts.append(f"free before loading {human_bytes(free)}, ours {human_bytes(ours)}: {share:+.2f} GiB")
    return _explained(pool, f"it is what the others leave: {', '.join(parts)}") if parts else pool


def _budget(log: EngineLog, allocation: Allocation) -> list[str]:
    """The terms that come off the pool. SGLang leaves activations and graphs outside the static share."""
    if log.engine == "sglang":
        return ["weights", "recurrent"]
    names = ["weights", "activations", "non-torch", "weights + non-torch", "activations + non-torch"]
    if any(row == "weights + non-torch" for row in (folded(term.name) for term in log.terms)):
        names = names[1:]  # counted in the sum
    return [*names, "graphs", "activations + non-torch + graphs"] if _graphs_in_budget(allocation) else names


def _counts(log: EngineLog, allocation: Allocation) -> Iterator[Row]:
    """Tokens of the cache, and sequences of the context at once."""
    pool = allocation.pool
    if pool is None:
        return
    if log.kv_tokens is not None:
        row = Row(
            term="kv tokens",
            device="",
            unit="tokens",
            logged=log.kv_tokens,
            predicted=pool.tokens,
            resolution=0,
            explanation="",
        )
        yield _explained(row, "equal" if row.equal else _per_token(log, allocation))
    if log.max_concurrency is not None and log.max_concurrency_context == allocation.case.context:
        row = Row(
            term=f"concurrency at {log.max_concurrency_context:,}",
            device="",
            unit="sequences",
            logged=log.max_concurrency,
            predicted=pool.max_concurrency if pool.sequence_bytes else None,
            resolution=0.01,
            explanation="",
        )
        yield _explained(row, "equal to the log's rounding" if row.equal else "pool over what a sequence takes")


def _per_token(log: EngineLog, allocation: Allocation) -> str:
    """How much of the difference in tokens is the pool's, and how much bytes of a token."""
    pool, logged = allocation.pool, log.smallest("kv_pool")
    if pool is None or logged is None or not pool.tokens or not log.kv_tokens or logged[0] <= 0:
        return ""
    plain = pool.block_tokens > 0 and pool.blocks * pool.block_tokens == pool.tokens  # no groups of unlike layers
    ours = pool.block_bytes / pool.block_tokens if plain else pool.size_bytes / pool.tokens
    theirs = logged[0] / log.kv_tokens
    if abs(ours / theirs - 1) < logged[1] / logged[0]:
        return f"the pool's: a token takes {ours:,.0f} B in both"
    return f"the pool differs by {pool.size_bytes / logged[0] - 1:+.2%}, a token's bytes by {ours / theirs - 1:+.2%}"


def _notes(log: EngineLog, allocation: Allocation) -> Iterator[str]:
    """What the prediction took for granted."""
    asked = {
        "gpu_memory_utilization": log.utilization,
        "max_num_seqs": log.max_num_seqs,
        "max_num_batched_tokens": log.max_num_batched_tokens,
    }
    for name, value, origin in allocation.settings:
        if log.engine != llama_cpp.NAME and name in asked and asked[name] is None:
            yield f"the log does not say {name}: {value} ({origin or 'a default'})"
    if any(term.name.startswith("draft ") for term in log.terms):
        yield "the log has a draft model's terms too, which the prediction leaves out"
    if allocation.case.model.quantization is None and log.weights and allocation.case.weights is None:
        same = allocation.case.model.stored is not None
        if not same and log.engine != llama_cpp.NAME:
            yield f"the log's weights are {log.weights}, which the model's config does not say: predicted as published"
    yield from allocation.case.engine.notes
    yield from (f"problem: {text}" for text in allocation.problems)
    yield from allocation.notes
