"""Holds vLLM's accounting against start-up logs (memory_vllm.csv) and writes the table of docs/memory_vllm.md.

    python benchmarks/memory_vllm.py ../shared/data/memory_vllm.csv docs/memory_vllm.md

The pool of a row that does not carry it is utilisation x device - weights - activation - non-torch; loaded weights of a
row that does not carry them are our count of the checkpoint's bytes, corrected by the row's own error of such a count.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from inferwise.catalog.hardware import hardware
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.memory.engines import allocate
from inferwise.memory.engines.vllm_limits import resolve as resolve_flags
from inferwise.memory.parts.torch_memory import StepShape, activation_peak
from inferwise.memory.placement import stage_weights, stages
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Settings
from inferwise.units import GIB, round_up

QUANTITIES = ("activation", "non-torch", "weights", "kv pool")


@dataclass(frozen=True)
class Compared:
    """A row: what was measured and what is predicted [GiB]."""

    name: str
    tp: int
    measured: dict[str, float]
    predicted: dict[str, float]

    def error(self, quantity: str) -> float:
        return self.predicted[quantity] / self.measured[quantity] - 1


def case_of(row: dict[str, str]) -> Case:
    return deployment(
        resolve(row["model"]),
        hardware(row["accelerator"]),
        engine="vllm",
        engine_version=row["engine_version"],
        degrees={"tp": int(row["tp"]), "pp": int(row["pp"])},
        kv=None if row["kv_format"] == "auto" else row["kv_format"],
        context=int(row["max_model_len"]),
        settings=Settings(gpu_memory_utilization=float(row["gpu_memory_utilization"])),
    )


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def fitted(rows: list[dict[str, str]]) -> dict[str, float]:
    """The constants from these rows: bytes of a logit where the sampler is widest, and what lies outside PyTorch."""
    per_logit = []
    for row in rows:
        case = case_of(row)
        data, stage, limits = case.engine.defaults, stages(case.model, None, case.parallel)[0], resolve_flags(case)
        step = StepShape(limits.tokens, limits.sequences, case.parallel.tp)
        constants = {"hidden_copies": data["hidden_copies"], "moe_chunk": data["moe_chunk_tokens"]}
        peak = activation_peak(case.model, stage, step, logit_bytes=15, **constants)
        if peak.logits > peak.layer:
            hidden = step.tokens * case.model.hidden * 2
            left = float(row["activation_gib"]) * GIB - peak.kept - hidden
            per_logit.append(left / (step.sequences * round_up(case.model.vocab, 64)))
    outside = {
        tp: statistics.median(float(row["non_torch_gib"]) * GIB for row in rows if row["tp"] == tp)
        for tp in ("1", "2", "4")
    }
    peer = (outside["4"] - outside["2"]) / 2
    return {
        "sampler_bytes_per_logit": statistics.median(per_logit),
        "runtime_bytes": outside["1"],
        "runtime_peer_bytes": peer,
        "runtime_ranks_bytes": outside["2"] - outside["1"] - peer,
    }


def left_out(path: Path) -> Iterator[Compared]:
    """Each row by constants fitted without any row of its base model."""
    rows = rows_of(path)
    for group in sorted({base(row) for row in rows}):
        constants = fitted([row for row in rows if base(row) != group])
        yield from (compare(row, constants) for row in rows if base(row) == group)


def base(row: dict[str, str]) -> str:
    """The model that a row's checkpoint was made from: `Qwen2.5-7B-Instruct`."""
    tail = row["model"].rpartition("/")[2]
    return tail.removesuffix("-fp8-dynamic").removesuffix("-quantized.w8a8")


def compared(path: Path) -> Iterator[Compared]:
    """Each row by the constants as shipped."""
    yield from (compare(row, {}) for row in rows_of(path))


def compare(row: dict[str, str], constants: dict[str, float]) -> Compared:
    case = case_of(row)
    case = replace(case, engine=replace(case.engine, defaults={**case.engine.defaults, **constants}))
    device = allocate(case).fullest
    stored = stage_weights(case.model, None, case.parallel)[0].total / GIB
    of_count = 1 + float(row["weight_bytes_error_of_parameter_count_pct"]) / 100
    weights = float(row["weights_gib"]) if row["weights_gib"] else stored / of_count
    activation, runtime = float(row["activation_gib"]), float(row["non_torch_gib"])
    share = float(row["gpu_memory_utilization"]) * float(row["device_memory_gib"])
    pool = float(row["kv_pool_gib"]) if row["kv_pool_gib"] else share - weights - activation - runtime
    names = ("activations", "non-torch", "weights", "kv pool")
    return Compared(
        f"{row['model']} ({row['max_model_len']} tokens, KV {row['kv_format']})",
        int(row["tp"]),
        dict(zip(QUANTITIES, (activation, runtime, weights, pool), strict=True)),
        {q: device.size(name) / GIB for q, name in zip(QUANTITIES, names, strict=True)},
    )


def table(rows: list[Compared]) -> str:
    head = "| model | tp | " + " | ".join(f"{q}: log / ours [GiB]" for q in QUANTITIES) + " |"
    lines = [head, "|---" * (2 + len(QUANTITIES)) + "|"]
    for row in rows:
        cells = (f"{row.measured[q]:.2f} / {row.predicted[q]:.2f} ({row.error(q):+.1%})" for q in QUANTITIES)
        lines.append(f"| {row.name} | {row.tp} | " + " | ".join(cells) + " |")
    lines += [summary("mean of absolute errors", rows, statistics.mean), summary("largest", rows, max)]
    return "\n".join(lines)


def summary(label: str, rows: list[Compared], of: Callable[[list[float]], float]) -> str:
    cells = (f"{of([abs(row.error(q)) for row in rows]):.2%}" for q in QUANTITIES)
    return f"| **{label}** | | " + " | ".join(cells) + " |"


def main(data: str, document: str) -> None:
    rows, others = list(compared(Path(data))), list(left_out(Path(data)))
    lines = table(rows)
    lines += "\n" + summary("mean, constants fitted without the row's base model", others, statistics.mean)
    lines += "\n" + summary("largest, likewise", others, max)
    path = Path(document)
    before = path.read_text("utf-8")
    start, end = "<!-- table: benchmarks/memory_vllm.py -->\n", "<!-- end of table -->"
    head, rest = before.split(start)
    path.write_text(head + start + lines + "\n" + end + rest.split(end)[1], "utf-8")
    print(lines[-600:])


if __name__ == "__main__":
    main(*sys.argv[1:])
