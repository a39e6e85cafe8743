"""How fast: what a deployment takes for a load, with its memory beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from inferwise.memory.case import Case
from inferwise.memory.dealing import ONE_PROCESS
from inferwise.memory.engines.vllm_limits import resolve
from inferwise.memory.fit import Fit, fit
from inferwise.serving.capacity import running_limit
from inferwise.serving.embedding import embedding
from inferwise.serving.loading import loading
from inferwise.serving.power import watts
from inferwise.serving.steady import Load, Rates, closed_loop, static_batch, steady_batch
from inferwise.serving.tiers import prefix_seconds
from inferwise.spec.workload import OFFLINE, STATIC, STEADY, Workload
from inferwise.timing.decompose.encoder import patches_of
from inferwise.timing.decompose.speculation import check_acceptance
from inferwise.timing.decompose.stage import generates
from inferwise.timing.deploy import forward as forward_of
from inferwise.timing.forward import Forward
from inferwise.timing.step import Quantity, Step
from inferwise.timing.table import Row, bottleneck, table, utilisation, works


@dataclass(frozen=True, kw_only=True)  # no slots: its rows are kept once asked for
class Estimate:
    """Time, rates and energy of a deployment under a load, over all of its replicas.

    running: sequences that decode at once on one replica; limit: the most that its memory holds. decode_step,
    prompt_step: a decode step of that batch (None where there is none) and one prompt. mfu, mbu: of the decode step.
    power_w: of all devices; energy: of all devices for one output token. load_s: from the disk to the devices, None
    where no rate is known.
    """

    fit: Fit
    workload: Workload
    forward: Forward
    replicas: int
    running: float
    limit: float
    ttft_s: float
    tpot_s: float
    latency_s: float
    request_per_s: float
    output_tok_s: float
    total_tok_s: float
    prompt_tok_s: float
    prefill_s: float
    decode_s: float
    mfu: float
    mbu: float
    bottleneck: str
    power_w: float | None
    energy_j_per_output_tok: float | None
    load_s: float | None
    decode_step: Step | None
    prompt_step: Step
    notes: tuple[str, ...] = ()

    @cached_property
    def decode(self) -> tuple[Row, ...]:
        """The operators of a decode step; none where the model gives one token or none."""
        return () if self.decode_step is None else table(self.forward, self.decode_step)

    @cached_property
    def prefill(self) -> tuple[Row, ...]:
        """The operators of one prompt."""
        return table(self.forward, self.prompt_step)

    @property
    def fits(self) -> bool:
        """Whether the engine starts and holds at least one sequence of this length."""
        return self.limit >= 1

    def _repr_html_(self) -> str:
        """The view of a notebook."""
        from inferwise.serving.estimate_html import as_html

        return as_html(self)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: schema `inferwise/estimate/1` (docs/json.md)."""
        from inferwise.serving.estimate_json import as_dict

        return as_dict(self)


def estimate(case: Case, workload: Workload, *, replicas: int = 1, silicon: bool = False) -> Estimate:
    """The time of a load on `replicas` equal deployments of a case.

    A case's context that is longer than the request is room that the engine keeps; it is never shorter. What does not
    fit is not timed: of a batch, the largest that does; raises BadInput where a request cannot be run at all. silicon:
    operators are looked up in measured tables (docs/timing_silicon.md); raises BadInput where those are not installed.
    """
    if not generates(case.model):
        workload = replace(workload, output=0)
    each = max(1.0, workload.concurrency / replicas)
    length = workload.prompt + workload.output
    asked = replace(case, context=max(length, case.context), batch=1)
    held = fit(asked)
    forward = forward_of(held.allocation.case if held.allocation.fits else asked, silicon=silicon)
    limit = running_limit(held.allocation, workload.prompt, workload.output)
    if workload.protocol == STATIC:  # all of them reach their whole length together
        limit = min(limit, float(held.allocation.max_batch))
    load = load_of(case, workload, each)
    notes = []
    if limit < each and workload.protocol in (STATIC, STEADY) and limit >= 1:
        notes.append(f"{each:,.0f} sequences do not fit: the largest batch that does, {int(limit):,}, is timed")
        load = replace(load, concurrency=float(int(limit)))
    rates = rates_of(forward, load, workload, max(limit, 1.0))
    rates = with_prefix(rates, prefix_seconds(held.allocation, load.prefix))
    return _answer(held, workload, forward, replicas, limit, load, rates, tuple(notes))


def middle_step(forward: Forward, rates: Rates, load: Load) -> Step:
    """A decode step in the middle of the answers, of the sequences that a stage works on at once."""
    stages = 1 if forward.case.engine.name in ONE_PROCESS else len(forward.stages)
    return Step(decodes=float(rates.running) / stages, context=load.input + load.output / 2, queries=load.queries)


def decode_utilisation(forward: Forward, step: Step, rates: Rates) -> tuple[float, float]:
    """(MFU, MBU) of `middle_step` while the batch decodes: every stage runs one for each of its micro-batches."""
    stages = 1 if forward.case.engine.name in ONE_PROCESS else len(forward.stages)
    shown = works(forward, step)
    if stages == 1:
        return utilisation(forward, shown, sum(each.seconds for each in shown))
    passes = min(float(rates.running), float(stages))
    return utilisation(forward, shown, max(float(rates.decode_s) / passes, 1e-12))


def load_of(case: Case, workload: Workload, each: Quantity) -> Load:
    """The load on one replica with `each` requests at once. Raises BadInput for more tokens a step than are drafted."""
    check_acceptance(case, workload.acceptance)
    patches, each_image = patches_of(case.model, workload)
    return Load(
        input=float(workload.prompt),
        output=float(workload.output),
        concurrency=each,
        prefix=float(workload.prefix),
        acceptance=workload.acceptance,
        queries=float(1 + case.speculative_tokens),
        patches=patches,
        image_patches=each_image,
        equal=workload.equal_lengths,
    )


def rates_of(forward: Forward, load: Load, workload: Workload, limit: float) -> Rates:
    """The closed form of a workload's protocol."""
    budget = step_budget(forward.case)
    if workload.output <= 1 or not generates(forward.case.model):  # the one token comes with its prompt
        return embedding(forward, load, budget, limit)
    if workload.protocol == STATIC:
        return static_batch(forward, load, budget)
    if workload.protocol == STEADY:
        return steady_batch(forward, load, budget)
    if workload.protocol == OFFLINE:
        return closed_loop(forward, replace(load, concurrency=np.minimum(load.concurrency, limit)), budget, limit)
    return closed_loop(forward, load, budget, limit)


def with_prefix(rates: Rates, seconds: Quantity) -> Rates:
    """With the seconds that a request waits for its prefix to come back from a tier of the cache."""
    latency = rates.latency_s + seconds
    slower = rates.latency_s / latency
    return replace(rates, ttft_s=rates.ttft_s + seconds, latency_s=latency, request_per_s=rates.request_per_s * slower)


def step_budget(case: Case) -> float:
    """Most tokens of a step: as the user set it, else the version's default; whole prompts where it has none."""
    found = case.settings.max_num_batched_tokens
    if found is None and case.engine.name == "vllm":
        found = resolve(case).tokens
    if found is None:
        found = case.engine.defaults.get("max_num_batched_tokens") or case.engine.defaults.get("ubatch")
    return float(found or 8192)


def _answer(
    held: Fit,
    workload: Workload,
    forward: Forward,
    replicas: int,
    limit: float,
    load: Load,
    rates: Rates,
    notes: tuple[str, ...],
) -> Estimate:
    """The numbers of the whole deployment, and the operators behind them."""
    running, output = float(rates.running), workload.output
    middle = middle_step(forward, rates, load)
    read = Step(
        prompts=1.0,
        prompt_tokens=load.input - load.prefix,
        past=load.prefix,
        images=load.patches,
        image_patches=load.image_patches,
    )
    decodes = output > 1 and generates(forward.case.model)
    shown = works(forward, middle if decodes else read)
    mfu, mbu = (
        decode_utilisation(forward, middle, rates)
        if decodes
        else utilisation(forward, shown, sum(each.seconds for each in shown))
    )
    busy = float(min(replicas, workload.concurrency))  # replicas that have a request
    request_per_s = float(rates.request_per_s) * busy
    output_tok_s = request_per_s * output
    power, idle = watts(forward.case.devices, mfu, mbu), watts(forward.case.devices, 0.0, 0.0)
    total = None if power is None or idle is None else power * busy + idle * (replicas - busy)
    cold = loading(held.allocation)
    return Estimate(
        fit=held,
        workload=workload,
        forward=forward,
        replicas=replicas,
        running=running,
        limit=limit,
        ttft_s=float(rates.ttft_s),
        tpot_s=float(rates.tpot_s),
        latency_s=float(rates.latency_s),
        request_per_s=request_per_s,
        output_tok_s=output_tok_s,
        total_tok_s=request_per_s * (workload.prompt + output),
        prompt_tok_s=float((load.input - load.prefix) / rates.prefill_s),
        prefill_s=float(rates.prefill_s),
        decode_s=float(rates.decode_s),
        mfu=float(mfu),
        mbu=float(mbu),
        bottleneck=bottleneck(shown),
        power_w=total,
        energy_j_per_output_tok=total / output_tok_s if total and output_tok_s else None,
        load_s=cold.seconds,
        decode_step=middle if decodes else None,
        prompt_step=read,
        notes=(*notes, *forward.notes, cold.note),
    )
