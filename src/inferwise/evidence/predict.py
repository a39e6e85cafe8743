"""What the timing model says of a measured run, by the metrics of its protocol."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferwise.evidence.file_mix import sized
from inferwise.evidence.run_case import Question
from inferwise.memory.case import Case
from inferwise.memory.engines import allocate
from inferwise.serving.capacity import running_limit
from inferwise.serving.disaggregated import disaggregated
from inferwise.serving.estimate import decode_utilisation, load_of, middle_step, rates_of, step_budget
from inferwise.serving.power import watts
from inferwise.serving.single_stream import resized, single_stream
from inferwise.serving.steady import Load, Rates
from inferwise.serving.transfer import transfer_seconds
from inferwise.spec.workload import OFFLINE, SINGLE, STEADY
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward

# Engines of llama.cpp's kind, whose benchmarks report prompt and decode rates apart.
BY_STREAM = ("llama.cpp", "ollama", "mlx")
MOST_OFFLINE = 2**14  # sequences that an engine without a limit of its own is taken to run at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A question with the deployment that answers it. limit: sequences that one replica runs at once. prefill: of the
    workers that read the prompts, where others than `forward` do; then `concurrency` is of the whole deployment."""

    question: Question
    forward: Forward
    limit: float
    concurrency: float
    prefill: Forward | None = None


def timed(question: Question, fold: int | None = None) -> Timed:
    """A question ready to be answered. fold: by profiles fitted without it. Raises BadInput for what cannot run."""
    workload, case = question.workload, question.case
    made = forward(case, fold=fold, backend=question.backend)
    if case.engine.name in BY_STREAM and case.model.stored is None:
        mixed, experts, rest = sized(question)
        made = resized(forward(mixed, fold=fold, backend=question.backend), experts, rest)
    held = allocate(replace(case, context=workload.prompt + max(workload.output, 1), batch=1))
    limit = max(1.0, running_limit(held, workload.prompt, workload.output))
    if workload.protocol == OFFLINE:
        limit = min(limit, float(case.setting("max_num_seqs") or MOST_OFFLINE)) if _has_seats(case) else limit
    each = workload.concurrency / question.replicas
    other = None if question.prefill is None else forward(question.prefill, fold=fold, backend=question.backend)
    return Timed(
        question=question, forward=made, limit=limit, concurrency=min(each, MOST_OFFLINE) or 1.0, prefill=other
    )


def _has_seats(case: Case) -> bool:
    return case.settings.max_num_seqs is not None or "max_num_seqs" in case.engine.defaults


def predicted(one: Timed) -> dict[str, float]:
    """The metrics of a run by the names of the measurements' columns: milliseconds, tokens and requests a second."""
    question, workload = one.question, one.question.workload
    load = load_of(question.case, workload, one.concurrency)
    if workload.protocol == SINGLE:
        stream = single_stream(one.forward, load)
        return {"prompt_tok_s": float(stream.prompt_tok_s), "decode_tok_s": float(stream.decode_tok_s),
                "output_tok_s": float(stream.decode_tok_s)}  # fmt: skip
    rates = _on_workers(one, load) if one.prefill is not None else rates_of(one.forward, load, workload, one.limit)
    found = _metrics(rates, workload.prompt, workload.output, question.replicas)
    if workload.protocol == STEADY:
        found |= _energy(one, rates, found["output_tok_s"])
    return found


def _on_workers(one: Timed, load: Load) -> Rates:
    """The rates of a deployment whose prompts are read by workers of their own."""
    question = one.question
    assert one.prefill is not None
    assert question.workers is not None
    read, write = one.prefill.case, one.forward.case
    budget = step_budget(read) * read.parallel.dp  # each attention group has its own scheduler
    moved = transfer_seconds(read, write, question.workload.prompt)
    return disaggregated(one.prefill, one.forward, load, question.workers, budget, one.limit, moved)


def _metrics(rates: Rates, prompt: int, output: int, replicas: int) -> dict[str, float]:
    requests = float(rates.request_per_s) * replicas
    return {
        "ttft_ms": 1e3 * float(rates.ttft_s),
        "tpot_ms": 1e3 * float(rates.tpot_s),
        "latency_ms": 1e3 * float(rates.latency_s),
        "output_tok_s": requests * output,
        "total_tok_s": requests * (prompt + output),
        "req_s": requests,
    }


def _energy(one: Timed, rates: Rates, output_tok_s: float) -> dict[str, float]:
    """Power and energy of a steady batch."""
    workload = one.question.workload
    step = middle_step(one.forward, rates, load_of(one.question.case, workload, one.concurrency))
    power = watts(one.forward.case.devices, *decode_utilisation(one.forward, step, rates))
    if power is None:
        return {}
    total = power * one.question.replicas
    return {"power_w": total, "energy_j_per_output_tok": total / output_tok_s}
