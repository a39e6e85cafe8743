"""Whether a model fits, for readers."""

from __future__ import annotations

from collections.abc import Sequence

from inferwise.memory.allocation import Allocation, DeviceMemory, Term
from inferwise.memory.budget import Budget
from inferwise.memory.changes import Change
from inferwise.memory.fit import Fit
from inferwise.report.tables import table
from inferwise.units import GIB, human_bytes, human_count

BAR = 60  # characters
WORTH_SAYING = GIB
UNTESTED = "no measurement has tested this accounting: take it as an estimate"


def fit_text(result: Fit) -> str:
    """One deployment: the memory of each device that differs, the verdict, the room, and what to change."""
    case, allocation = result.case, result.allocation
    model = case.model
    active = model.active_parameters
    of_which = f", {human_count(active)} active" if active != model.parameters else ""
    verdict = "fits" if result.fits else "does not fit"
    if result.fits and allocation.host_bytes > WORTH_SAYING:
        verdict += f", with {human_bytes(allocation.host_bytes)} in the host's memory"
    parts = [
        f"{model.name}: {human_count(model.parameters)} parameters{of_which}, on {where(allocation)} "
        f"with {case.engine.name} {case.engine.version}: {verdict}",
        *(device_text(memory, names) for memory, names in _distinct(allocation)),
        _beside(allocation),
        "\n".join(_room_lines(result)),
        "\n".join(f"problem: {problem}" for problem in allocation.problems),
        changes_text(result.changes),
        "\n".join(_remarks(result)),
    ]
    return "\n\n".join(part for part in parts if part)


def where(allocation: Allocation) -> str:
    """`8 x H200 SXM 141GB (tp 8)`."""
    case = allocation.case
    counts: dict[str, int] = {}
    for device in case.devices:
        counts[device.name] = counts.get(device.name, 0) + 1
    names = " + ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())
    degrees = [f"{name} {getattr(case.parallel, name)}" for name in ("tp", "pp", "ep", "dp", "cp")]
    dealt = ", ".join(degree for degree in degrees if not degree.endswith(" 1"))
    return f"{names} ({dealt})" if dealt else names


def _distinct(allocation: Allocation) -> list[tuple[DeviceMemory, str]]:
    """The devices whose memory differs, each with the ranks that are like it."""
    alike: dict[tuple[str, tuple[Term, ...]], list[int]] = {}
    for index, memory in enumerate(allocation.devices):
        alike.setdefault((memory.device.slug, memory.terms), []).append(index)
    single = len(alike) == 1
    return [(allocation.devices[ranks[0]], "" if single else _ranks(ranks)) for ranks in alike.values()]


def _ranks(indices: Sequence[int]) -> str:
    return f"device {indices[0]}" if len(indices) == 1 else f"devices {', '.join(map(str, indices))}"


def device_text(memory: DeviceMemory, names: str = "") -> str:
    """A device as a bar and a table of its terms; they add up to its memory."""
    free = memory.free_bytes
    rows = [(letter, term.name, term.size_bytes) for letter, term in zip(_letters(memory), memory.terms, strict=True)]
    rows.append((".", "free" if free >= 0 else "missing", abs(free)))
    scale = max(memory.capacity_bytes, memory.total_bytes, 1)
    bar = "".join(letter * round(size / scale * BAR) for letter, name, size in rows if name != "missing")
    head = f"{names + ': ' if names else ''}{memory.device.name}, {human_bytes(memory.capacity_bytes)}"
    shown = [
        (f"  {letter}", name, human_bytes(size), f"{size / memory.capacity_bytes:.1%}") for letter, name, size in rows
    ]
    return "\n".join((head, f"  [{bar[:BAR].ljust(BAR, '.')}]", table(shown, right=(2, 3))))


def _letters(memory: DeviceMemory) -> list[str]:
    """A letter of its own for each term."""
    taken: list[str] = []
    for term in memory.terms:
        letters = [c for c in term.name if c.isalpha()] + list("xyz0123456789")
        taken.append(next(c for c in letters if c not in taken))
    return taken


def _beside(allocation: Allocation) -> str:
    """What lies on the host and on disk."""
    rows = [(f"  host: {term.name}", human_bytes(term.size_bytes), term.how) for term in allocation.host]
    rows += [(f"  disk: {term.name}", human_bytes(term.size_bytes), term.how) for term in allocation.disk]
    return table(rows, right=(1,))


def _room_lines(result: Fit) -> list[str]:
    """The pool, how much more it would hold, and the lower bound beside it."""
    case, allocation, lower = result.case, result.allocation, result.lower_bound
    lines = []
    pool = allocation.pool
    if pool is not None and pool.block_bytes and pool.size_bytes:
        blocks = f"{pool.blocks:,} blocks of {pool.block_tokens} tokens, " if pool.block_tokens > 1 else ""
        lines.append(
            f"kv pool: {human_bytes(pool.size_bytes)}, {blocks}{pool.tokens:,} tokens; "
            f"{human_bytes(pool.sequence_bytes)} a sequence, concurrency {pool.max_concurrency:,.2f} at "
            f"{case.context:,} tokens"
        )
    lines.append(f"room for {room(allocation.max_batch, allocation.max_context, allocation)}")
    devices = "devices" if len(case.devices) > 1 else "device"
    lines.append(
        f"lower bound on the {devices}: weights {human_bytes(lower.weights_bytes)} ({lower.weights.basis}) + state of "
        f"{case.batch:,} x {case.context:,} tokens {human_bytes(lower.state_bytes)} ({case.layout.kv}) = "
        f"{human_bytes(lower.total_bytes)}; {room(lower.max_batch, lower.max_context, allocation)}"
    )
    return lines


def room(max_batch: int, max_context: int | None, allocation: Allocation) -> str:
    """`12 sequences of 8,192 tokens, or 1 of 98,304 tokens`."""
    case = allocation.case
    if max_batch == 0:
        return f"no sequence of {case.context:,} tokens" + (f"; the longest has {max_context:,}" if max_context else "")
    longest = longest_text(max_context, case.model.max_context)
    sequences = "sequence" if max_batch == 1 else "sequences"
    return f"{max_batch:,} {sequences} of {case.context:,} tokens, or {case.batch:,} of {longest} tokens"


def longest_text(max_context: int | None, limit: int | None) -> str:
    """The longest context that memory allows, and the model's own limit where that is lower."""
    if max_context is None or (limit and max_context > limit):
        return f"{limit:,} (model's)" if limit else "any number of"
    return f"{max_context:,}"


def changes_text(changes: Sequence[Change]) -> str:
    """What to change so that it fits, a row each."""
    if not changes:
        return ""
    rows = (
        (
            f"  {change.flags}",
            human_bytes(change.allocation.fullest.total_bytes),
            f"{change.allocation.max_batch:,}",
            longest_text(change.allocation.max_context, change.allocation.case.model.max_context),
        )
        for change in changes
    )
    return "to make it fit\n" + table(
        rows, header=("  change", "fullest device", "sequences", "longest context"), right=(1, 2, 3)
    )


def _remarks(result: Fit) -> list[str]:
    """What a reader of the figures should know."""
    case = result.case
    limit = case.model.max_context
    remarks = []
    if limit and case.context > limit:
        remarks.append(f"{case.context:,} tokens are more than the {limit:,} that the model was made for")
    tested = f"tested against {case.engine.tested}" if case.engine.tested else UNTESTED
    notes = (*remarks, *result.allocation.notes, *case.model.notes, *result.lower_bound.weights.notes)
    return [f"accounting of {case.engine.name}: {tested}", *(f"note: {text}" for text in dict.fromkeys(notes))]


def explain_fit_text(result: Fit) -> str:
    """Where the numbers of one deployment come from: each term's formula, the flags, the lower bound."""
    lines = []
    for memory, names in _distinct(result.allocation):
        device = memory.device
        figure = _figure(device.reported_bytes is not None, device.gpu_limit_bytes is not None)
        lines.append(f"how {names or 'each device'} fills")
        lines.append(table(((f"  {t.name}", f"{t.size_bytes:,} B", t.how) for t in memory.terms), right=(1,)))
        lines.append(f"  sum: {memory.total_bytes:,} B of {memory.capacity_bytes:,} B, {figure} ({device.source})")
    settings = ((f"  {name}", str(value), origin) for name, value, origin in result.allocation.settings)
    lines += ["", "flags", table(settings), f"  source: {result.case.engine.source}"]
    return "\n".join((*lines, "", explain_lower_text(result.lower_bound)))


def _figure(reported: bool, limited: bool) -> str:
    if limited:
        return "what its GPU may take by default"
    return "as its driver reports it" if reported else "as its datasheet says"


def explain_lower_text(result: Budget) -> str:
    """Weights by component and state by kind on the fullest device."""
    dealt = result.parallel
    degrees = ", ".join(f"{name} {getattr(dealt, name)}" for name in ("tp", "pp", "ep", "dp", "cp"))
    parts = (*result.weights.by_component().items(), *result.state.items())
    return "\n".join(
        (
            f"the lower bound on the fullest device ({degrees})",
            table(((f"  {part}", f"{size:,} B") for part, size in parts), right=(1,)),
            f"  sum: {result.total_bytes:,} B",
        )
    )
