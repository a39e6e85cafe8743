"""From a measured run to the question that it answers: a case, and the load that was put on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from inferwise.catalog.hardware import hardware
from inferwise.errors import BadInput, UnknownName
from inferwise.evidence.cells import degree, number, tokens
from inferwise.evidence.disaggregated_run import sides, workers
from inferwise.evidence.measurements import Run
from inferwise.evidence.run_names import (
    GGUF_ENGINES,
    Unpredicted,
    assumed_lengths,
    bundled,
    engine_at,
    engine_named,
    kv_named,
    mean_length,
    setup,
    weights_named,
)
from inferwise.memory.case import Case
from inferwise.memory.dealing import ONE_PROCESS
from inferwise.memory.state import layout_in
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Settings
from inferwise.spec.hardware import Node
from inferwise.spec.workload import CLOSED, MAX_REQUESTS, OFFLINE, PROTOCOLS, SINGLE, Workload
from inferwise.units import GIB, ceil_div

BATCHED = "max_num_batched_tokens"
OF_DEPLOYMENT = ("flash_attention", "ubatch", "max_num_seqs", BATCHED, "dealt", "link")  # facts that a case depends on
TUNED_SEQUENCES = 2048  # of an offline run that names none: more are never faster
DISAGGREGATED = "closed_loop_disagg"  # a closed loop whose prompts other workers read
EVERY_LAYER = 1_000_000  # -ngl of "all"; the default of builds of 2023 was none
TUNED_TOKENS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a run asks of the timing model.

    replicas: how many such deployments share the workload's `concurrency`. notes: what was assumed. extrapolated: what
    lies outside that which the profiles were made for (`engine`, `input`, `weights`): the interval is wider. backend:
    of engines that have several (cuda, rocm, vulkan, metal). input_range: where the prompt's length was assumed, the
    lengths that it may have had. file_bytes: of the GGUF file that ran, where its source tells it: unsloth's mixes
    differ from model to model, and ours of them are estimates. prefill, workers: of a deployment whose prompts are read
    by workers of their own, one of these (`case` is a decode worker), and how many prefill and decode workers it has.
    """

    case: Case
    workload: Workload
    replicas: int
    notes: tuple[str, ...] = ()
    extrapolated: tuple[str, ...] = ()
    backend: str = ""
    input_range: tuple[int, int] | None = None
    file_bytes: int | None = None
    prefill: Case | None = None
    workers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """The workload with the lengths' assumptions."""

    workload: Workload
    images: bool = False
    notes: tuple[str, ...] = ()
    extrapolated: tuple[str, ...] = ()
    input_range: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deployed:
    """A case without its load, with what was assumed. replicas: that the devices hold."""

    case: Case
    replicas: int
    notes: tuple[str, ...]
    extrapolated: tuple[str, ...]
    backend: str


def question(run: Run) -> Question:
    """The case and the workload of a run. Raises Unpredicted with the status that the contract gives it."""
    if run.protocol == DISAGGREGATED:
        return _disaggregated(run)
    if run.protocol not in PROTOCOLS:
        raise Unpredicted(f"unsupported: {run.protocol[:40]}" if run.protocol else "missing-input")
    try:
        load = _load(run)
        made = _deployed(_without_load(run))
        replicas = _replicas(run, made)
        batch = 1 if run.concurrency == "max" else ceil_div(load.workload.concurrency, replicas)
        tokens = max(1, load.workload.prompt + load.workload.output)
        return Question(
            case=replace(_tuned(made.case) if run.concurrency == "max" else made.case, context=tokens, batch=batch),
            workload=load.workload,
            replicas=replicas,
            notes=(*made.notes, *load.notes),
            extrapolated=(*made.extrapolated, *load.extrapolated),
            backend=made.backend,
            input_range=load.input_range,
            file_bytes=_file_bytes(run),
        )
    except Unpredicted:
        raise
    except BadInput as error:
        raise Unpredicted(f"unsupported: {error.what[:120]}") from error


def _tuned(case: Case) -> Case:
    """The case of an offline run that names no limit: as many sequences at once as the memory holds.

    TensorRT-LLM's older defaults make a step of all sequences' whole prompts: its own tables build with fewer tokens.
    """
    given = case.settings
    if given.max_num_seqs is not None or case.engine.name in ONE_PROCESS:
        return case
    tokens = given.max_num_batched_tokens or (TUNED_TOKENS if case.engine.name == "tensorrt-llm" else None)
    return replace(case, settings=replace(given, max_num_seqs=TUNED_SEQUENCES, max_num_batched_tokens=tokens))


def _disaggregated(run: Run) -> Question:
    """The question of a run on prefill and decode workers: a closed loop on a decode worker, beside a prefill one."""
    reading, writing = sides(replace(run, protocol=CLOSED))
    readers, writers = workers(run, reading, writing)
    asked = question(writing)
    other = question(reading).case
    each = ceil_div(asked.workload.concurrency, writers)
    return replace(
        asked,
        case=replace(asked.case, batch=each),
        replicas=1,
        prefill=replace(other, context=asked.workload.prompt, batch=1),
        workers=(readers, writers),
    )


def _without_load(run: Run) -> Run:
    """The run without what differs between runs of one deployment."""
    facts = tuple((name, value) for name, value in run.facts if name in OF_DEPLOYMENT)
    blank = replace(run, id="", fold="", isl="", osl="", concurrency="", batch_per_replica="", request_rate="")
    return replace(blank, protocol="", facts=facts)


def _load(run: Run) -> _Load:
    """The workload of a run; what it does not say of its lengths is assumed where its remarks name the requests."""
    named, assumed = assumed_lengths(run)
    given, output = tokens("isl", run.isl), tokens("osl", run.osl)
    notes: list[str] = []
    extrapolated: tuple[str, ...] = ()
    span = None
    prompt: dict[str, int] = {}
    if given is None:
        if "input" not in assumed:
            raise Unpredicted("missing-input", "isl")
        given, span, extrapolated = assumed["input"], (assumed["range"][0], assumed["range"][1]), ("input",)
        prompt = {name: assumed[name] for name in ("images", "image_tokens") if name in assumed}
        notes.append(f"input of {given} tokens assumed for {named}" + (" beside its images" if prompt else ""))
    if output is None:
        if "output" not in assumed:
            raise Unpredicted("missing-input", "osl")
        output = assumed["output"]
        notes.append(f"output of {output} tokens assumed for {named}")
    depth = tokens("depth", run.fact("depth")) or 0
    prefix = 0
    if run.fact("cached"):
        prefix = max(given, 1) - 1
        notes.append("the context stands in the prefix cache")
    elif run.protocol == SINGLE and output == 0:
        prefix = min(depth, max(given, 1) - 1)
    share = mean_length(run)
    work = Workload(
        protocol=run.protocol,
        input=max(1, round(given * share)),  # an empty context still has a token to start from
        output=round(output * share),
        concurrency=_concurrency(run),
        prefix=prefix,
        equal_lengths=bool(run.campaign) and share == 1,
        **prompt,
    )
    return _Load(workload=work, images=bool(prompt), notes=tuple(notes), extrapolated=extrapolated, input_range=span)


def _concurrency(run: Run) -> int:
    """Requests in flight over the whole deployment; `max` is everything that could be queued."""
    if run.concurrency == "max" and run.protocol == OFFLINE:
        return MAX_REQUESTS
    return max(1, round(number("concurrency", run.concurrency)))


def _file_bytes(run: Run) -> int | None:
    """The size of the file that ran, to the byte or to 0.01 GiB; None where its source does not tell it."""
    if run.fact("file_bytes"):
        return degree(run.fact("file_bytes"), digits=15)
    return round(number("file_gib", run.fact("file_gib")) * GIB) if run.fact("file_gib") else None


def _replicas(run: Run, made: _Deployed) -> int:
    """How many deployments share the load: as the row's batch of one tells, else as many as the devices hold.

    Where a source gives the devices of one replica (a router over several), its batch tells the number.
    """
    if not run.batch_per_replica:
        return made.replicas
    batch = max(1.0, number("batch_per_replica", run.batch_per_replica))
    shared = number("concurrency", run.concurrency) / batch / made.case.parallel.dp
    return max(made.replicas, round(shared))


@lru_cache(maxsize=8192)
def _deployed(run: Run) -> _Deployed:
    """The deployment of a run, its load left blank."""
    name, reason = engine_named(run.engine)
    engine, assumed = engine_at(name, "" if reason else bundled(run, name), run.source)
    model, weights, note = weights_named(run.model, run.weight_format, name, run.model_as_published)
    notes = [assumed, note, f"generic profile: {name} for {run.engine} ({reason})" if reason else ""]
    count = degree(run.devices) or 1
    parallel, node = _dealt(run, name, count)
    flags = setup(run, name)
    kv = kv_named(run.kv_format or flags.get("kv", ""))
    if flags:
        notes.append("flags as in the source's own scripts")
    if run.fact("link"):
        node = replace(node, devices=tuple(replace(each, link="none") for each in node.devices))
        notes.append("joined by PCIe alone")
    case = Case(
        model=model,
        node=node,
        engine=engine,
        parallel=parallel,
        weights=weights,
        layout=layout_in(engine.layout, kv=kv),
        settings=_settings(run, name, flags),
        encoder=name not in GGUF_ENGINES,
    )
    return _Deployed(
        case=case,
        replicas=max(1, count // len(node.devices)),
        notes=tuple(each for each in notes if each),
        extrapolated=("engine",) if reason else (),
        backend=run.backend,
    )


def _dealt(run: Run, engine: str, count: int) -> tuple[Parallel, Node]:
    """The degrees of a replica and its devices. Sources count tp inside a rank of attention data parallelism."""
    if engine in ONE_PROCESS:
        return Parallel(), _node(run.accelerator, count)
    tp, pp, ep, dp = (degree(getattr(run, name)) for name in ("tp", "pp", "ep", "dp"))
    dealt = run.fact("dealt")
    pp, dp = pp or (count if dealt.startswith(("PP", "Pipeline")) else 1), dp or 1
    group = (tp or max(1, count // (pp * dp))) * dp
    if dealt == "EP":
        ep = group
    elif dealt.startswith("Hybrid"):  # "Hybrid TP = 2 and EP = 2"
        ep = int(dealt.rsplit(" ", 1)[1])
    if ep > group and ep * pp <= count:  # given as `ep` devices with tp 1: attention is dealt over them as well
        group = ep
    parallel = Parallel(tp=group, pp=pp, ep=ep or 1, dp=dp)
    return parallel, _node(run.accelerator, parallel.devices)


@lru_cache(maxsize=256)
def _node(slug: str, count: int) -> Node:
    if not slug:
        raise Unpredicted("missing-input", "no accelerator")
    try:
        return hardware(slug, count)
    except UnknownName as error:
        raise Unpredicted("unknown-device", slug[:80]) from error


def _settings(run: Run, engine: str, known: Mapping[str, Any]) -> Settings:
    """The flags that the remarks tell, over those that are known of the source."""
    flags: dict[str, Any] = {}
    if engine in GGUF_ENGINES:
        told = run.fact("flash_attention")
        flags["flash_attention"] = None if not told else told == "True"
        flags["ubatch"] = degree(run.fact("ubatch")) or None
        flags["fit"] = False  # llama-bench places what it is told to: all, in every source
        flags["gpu_layers"] = EVERY_LAYER
    else:
        flags = {name: degree(run.fact(name)) or known.get(name) for name in ("max_num_seqs", BATCHED)}
        flags |= {name: known.get(name) for name in ("gpu_memory_utilization", "async_scheduling")}
    return Settings(**flags)
