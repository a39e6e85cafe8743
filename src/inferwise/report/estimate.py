"""How fast, for readers."""

from __future__ import annotations

from collections.abc import Sequence

from inferwise.report.curve import seconds
from inferwise.report.fit import where
from inferwise.report.tables import table
from inferwise.serving.basis import BINDS, basis_shares, bound_shares, curve_error, merged, relief
from inferwise.serving.estimate import Estimate
from inferwise.serving.estimate_json import device_count, waiting
from inferwise.spec.workload import CLOSED, OFFLINE, SINGLE, STATIC, STEADY
from inferwise.timing.curves import GENERIC, MAKER, MEASURED, SISTER
from inferwise.timing.silicon.look_up import LOOKED_UP
from inferwise.timing.table import COMPUTE, LAUNCH, LINK, Row
from inferwise.units import human_bytes, human_count

DRIVEN = {
    SINGLE: "one request at a time",
    STATIC: "{} at once, started and ended together",
    CLOSED: "{} in flight",
    STEADY: "{} decoding at once",
    OFFLINE: "{} queued at once",
}
STANDS_ON = {
    MEASURED: "kernels timed on this device",
    LOOKED_UP: "tables of kernels timed on this device",
    SISTER: "kernels timed on its architecture's devices",
    MAKER: "kernels timed on other devices of its maker",
    GENERIC: "kernels timed on other makers' devices",
    "runs": "what whole runs of the engine add",
}
UNFITTED = "no measured run of this engine speaks for it: kernels alone, without the engine's own time"
KERNELS_BY_RUNS = ("llama.cpp", "ollama", "mlx")
BY_RUNS = "its curves come from whole runs of llama.cpp (docs/timing_llama_cpp.md): nothing is added to them"


def estimate_text(made: Estimate) -> str:
    """A load that runs: memory, times, rates, utilisation, power, and what they stand on."""
    model, case = made.fit.case.model, made.fit.case
    active = f", {human_count(model.active_parameters)} active" if model.active_parameters != model.parameters else ""
    devices = device_count(made)
    copies = f", {made.replicas} replicas on {devices} devices" if made.replicas > 1 else ""
    head = (
        f"{model.name}: {human_count(model.parameters)} parameters{active}, on {where(made.fit.allocation)}{copies} "
        f"with {case.engine.name} {case.engine.version}",
        asked(made),
    )
    rows = [*_memory(made), *_times(made), *_rates(made, devices), *_use(made), *_stands(made)]
    notes = [f"note: {text}" for text in dict.fromkeys((*made.notes, *_length_note(made)))]
    return "\n".join((*head, "", table(rows), *(["", *notes] if notes else [])))


def asked(made: Estimate) -> str:
    """The load in words."""
    work = made.workload
    cached = f" ({work.prefix:,} cached)" if work.prefix else ""
    images = f", of them {work.images} x {work.image_tokens:,} of images" if work.images else ""
    how = DRIVEN[work.protocol].format(f"{work.concurrency:,} requests" if work.concurrency > 1 else "1 request")
    accepted = f", {work.acceptance:g} tokens a step accepted" if work.acceptance != 1 else ""
    return f"{work.prompt:,} tokens in{cached}{images}, {work.output:,} out{accepted}, {how} ({work.protocol})"


def _memory(made: Estimate) -> list[tuple[str, str, str]]:
    """The verdict, and the room."""
    fullest = made.fit.allocation.fullest
    held = int(made.limit) * made.replicas
    per = f" ({int(made.limit):,} a replica)" if made.replicas > 1 else ""
    return [
        (
            "memory",
            "fits",
            f"{human_bytes(fullest.total_bytes)} of {human_bytes(fullest.capacity_bytes)} on the fullest device; "
            f"room for {held:,} such {'request' if held == 1 else 'requests'} at once{per}",
        )
    ]


def _times(made: Estimate) -> list[tuple[str, str, str]]:
    """Of a request."""
    work = made.workload
    queued = waiting(made)
    wait = f"; {queued:,.0f} wait for room" if queued >= 0.5 and work.protocol not in (STATIC, STEADY) else ""
    whole = (
        "all prompts are read first" if work.protocol == STATIC else f"a prompt alone takes {seconds(made.prefill_s)}"
    )
    rows = [("TTFT", seconds(made.ttft_s), f"{whole}{wait}")]
    if work.output > 1:
        beside = 1 - made.decode_s / made.tpot_s if made.tpot_s else 0.0
        prompts = f"; prompts of others take {beside:.0%} of it" if beside >= 0.01 else ""
        rows.append(("TPOT", seconds(made.tpot_s), f"{1 / made.tpot_s:,.4g} tok/s a user{prompts}"))
    rows.append(("latency", seconds(made.latency_s), "of a request, to its last token"))
    return rows


def _rates(made: Estimate, devices: int) -> list[tuple[str, str, str]]:
    """Of the whole deployment, and of a device where there are several."""

    def rate(value: float) -> tuple[str, str]:
        return f"{value:,.5g} tok/s", f"{value / devices:,.5g} a device" if devices > 1 else ""

    rows = [("output", *rate(made.output_tok_s))] if made.workload.output else []
    rows.append(("total", *rate(made.total_tok_s)))
    rows.append(("requests", f"{made.request_per_s:,.4g} /s", ""))
    if made.decode:
        each = f" on each of {made.replicas} replicas" if made.replicas > 1 else ""
        rows.append(("running", f"{made.running:,.4g}", f"sequences decode at once{each}, on average"))
    return rows


def _use(made: Estimate) -> list[tuple[str, str, str]]:
    """How busy the devices are, what binds them, and what they draw."""
    rows, step = made.decode or made.prefill, "a decode step" if made.decode else "a prompt"
    share = bound_shares(rows)[made.bottleneck]
    found = [
        ("MFU", f"{made.mfu:.1%}", f"of the 16-bit peak, in {step}"),
        ("MBU", f"{made.mbu:.1%}", f"of the memory's bandwidth, in {step}"),
        ("bottleneck", made.bottleneck, f"{BINDS[made.bottleneck]} binds {share:.0%} of {step}"),
        ("", "", f"relief: {relief(rows, made.bottleneck)}"),
    ]
    if made.decode and made.prefill:
        prompt = next(iter(bound_shares(made.prefill).items()))
        found.append(("", "", f"a prompt is bound by {BINDS[prompt[0]]} ({prompt[1]:.0%} of its time)"))
    if made.power_w is None:
        found.append(("power", "-", "no power limit is known of this device"))
    else:
        energy = made.energy_j_per_output_tok
        found.append(("power", f"{made.power_w:,.4g} W", f"{energy:.3g} J an output token" if energy else ""))
    load = "weights from disk to the devices" if made.load_s is not None else "no disk's rate is known of this machine"
    found.append(("cold start", seconds(made.load_s), load))
    return found


def _stands(made: Estimate) -> list[tuple[str, str, str]]:
    """What the numbers stand on."""
    rows = made.decode or made.prefill
    step = "a decode step" if made.decode else "a prompt"
    parts = [(name, share) for name, share in basis_shares(rows).items() if share >= 5e-3]
    shares = ", ".join(f"{share:.0%} from {STANDS_ON.get(name, name)}" for name, share in parts)
    error, made_by = curve_error(rows), made.forward.profile
    found = [("stands on", "", f"{step}'s time: {shares}")]
    if error is not None:
        found.append(("", "", f"its kernels' curves are off by {error:.0%} (median) on shapes or devices left out"))
    told = BY_RUNS if made.forward.case.engine.name in KERNELS_BY_RUNS else UNFITTED
    if made_by.runs:
        off = f", off by {made_by.error:.0%} (median) on runs left out" if made_by.error is not None else ""
        told = f"the engine's profile {made_by.name}: {made_by.runs:,} measured runs{off}"
    found.append(("", "", told))
    return found


def _length_note(made: Estimate) -> list[str]:
    """Where a request is longer than what the model was made for."""
    length, most = made.workload.prompt + made.workload.output, made.fit.case.model.max_context
    over = most is not None and length > most
    return [f"{length:,} tokens are more than the {most:,} that the model was made for"] if over else []


def explain_text(made: Estimate) -> str:
    """The operators of a decode step, then of a prompt: where the time goes, and where each efficiency is from."""
    work = made.workload
    parts = []
    if made.decode:
        queries = f", {1 + made.fit.case.speculative_tokens} queries each" if made.fit.case.speculative_tokens else ""
        middle = work.prompt + work.output // 2
        head = f"a decode step: {made.running:,.4g} x {middle:,} tokens{queries}"
        parts.append(operators_text(head, made.decode))
    fresh = work.prompt - work.prefix
    cached = f" after {work.prefix:,} that are cached" if work.prefix else ""
    parts.append(operators_text(f"a prompt of {fresh:,} tokens{cached}", made.prefill))
    if made.forward.profile.source:
        parts.append(f"engine's profile: {made.forward.profile.source}")
    return "\n\n".join(parts)


def operators_text(head: str, rows: Sequence[Row]) -> str:
    """A step's operators, the longest first, stages apart."""
    total = sum(row.seconds for row in rows)
    stages = sorted({row.stage for row in rows})
    header = ("  operator", "count", "shape", "time", "share", "bound", "of its roof", "efficiency from")
    parts = [f"{head}: {seconds(total)}"]
    for stage in stages:
        held = [row for row in merged(rows) if row.stage == stage]
        if len(stages) > 1:
            parts.append(f"stage {stage}: {seconds(sum(row.seconds for row in held))}")
        parts.append(table([_cells(row) for row in held], header=header, right=(1, 3, 4)))
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    shape = " ".join(f"{name} {_plain(value)}" for name, value in row.shape.items())
    roof = {COMPUTE: "MFU ", LAUNCH: "", LINK: ""}.get(row.bound, "MBU ")
    used = f"{roof}{row.utilisation:.0%}" if row.flops or row.bytes_moved else ""
    source = row.source if row.basis in (MEASURED, LOOKED_UP, "runs") else f"{row.source} ({row.basis})"
    return (f"  {row.name}", f"{row.count:g}", shape, seconds(row.seconds), f"{row.share:.1%}", row.bound, used, source)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
