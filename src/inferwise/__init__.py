"""inferwise: know before you serve.

>>> import inferwise as iw
>>> llama = iw.model("meta-llama/Llama-3.1-8B-Instruct")
>>> llama.parameters
8030261248
>>> llama.state_bytes(8192)
1073741824
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inferwise.memory.fit import Fit
    from inferwise.serving.estimate import Estimate
    from inferwise.spec.model import Model

__all__ = ["estimate", "fit", "model"]
__version__ = "0.1.0"


def model(source: str) -> Model:
    """The model that a text names.

    source: a catalog name, a Hub id (`org/name`, `org/name@revision`), a GGUF repository with its quantisation
    (`repo:Q4_K_M`), or the path of a config.json, a model folder or a .gguf file. Raises BadInput (what it names
    cannot be used), UnknownName, WorldFailed (the Hub or the disk).
    """
    from inferwise.read.resolve import resolve

    return resolve(source)


def fit(
    model: Model | str,
    gpu: str,
    *,
    count: int | None = None,
    context: int = 8192,
    batch: int = 1,
    weights: str | None = None,
    kv: str | None = None,
    state: str | None = None,
    engine: str | None = None,
    engine_version: str | None = None,
    **flags: Any,
) -> Fit:
    """What an engine allocates for `batch` sequences of `context` tokens, and whether that fits.

    gpu: devices, a machine, a TOML file of one's own, or `this` (docs/hardware.md). weights, kv, state: formats (None:
    as published, the engine's). engine: None for vLLM where it runs, else llama.cpp. flags: degrees (tp, pp, ep, dp,
    cp), the engine's flags (fields of inferwise.spec.engine.Settings) and what is loaded beside the model (draft,
    draft_weights, speculative_tokens, mtp, encoder, lora). Raises BadInput, UnknownName, WorldFailed.
    """
    from inferwise.memory.ask import ask
    from inferwise.memory.fit import fit as answer

    formats = {"weights": weights, "kv": kv, "state": state, "engine": engine, "engine_version": engine_version}
    return answer(ask(model, gpu, count, context=context, batch=batch, **formats, **flags))


def estimate(
    model: Model | str,
    gpu: str,
    *,
    count: int | None = None,
    input: int | None = None,  # noqa: A002
    output: int | None = None,
    context: int | None = None,
    concurrency: int | None = None,
    batch: int | None = None,
    protocol: str | None = None,
    prefix: int = 0,
    images: int = 0,
    image_tokens: int = 256,
    acceptance: float = 1.0,
    silicon: bool = False,
    **flags: Any,
) -> Estimate:
    """How fast a deployment is under a load, with its memory: TTFT, TPOT, throughput, utilisation, energy.

    input, output: tokens of a request (None: 1,024 and 256, or what `context` leaves). concurrency: requests in flight;
    batch: requests that start and end together; neither: one at a time; protocol says it otherwise (docs/timing.md).
    prefix: prompt tokens that are cached. acceptance: tokens that a step of speculation yields. gpu, count, flags: as
    in `fit` (weights, kv, state, engine, engine_version, tp, ...). Devices beyond the degrees run further replicas.
    silicon: look kernels up in measured tables (the extra `silicon`, docs/timing_silicon.md). Where not one request
    fits (`fits` is False) the times are those that more memory would give, and `to_dict` leaves them out.
    Raises BadInput, UnknownName, WorldFailed.
    """
    from inferwise.serving.ask_load import question
    from inferwise.serving.estimate import estimate as answer

    load = {
        "input": input,
        "output": output,
        "context": context,
        "concurrency": concurrency,
        "batch": batch,
        "protocol": protocol,
        "prefix": prefix,
        "images": images,
        "image_tokens": image_tokens,
        "acceptance": acceptance,
    }
    asked = question(model, gpu, count, **load, **flags)
    return answer(asked.case, asked.workload, replicas=asked.replicas, silicon=silicon)
