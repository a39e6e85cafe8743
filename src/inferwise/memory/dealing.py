"""Which degrees of parallelism a model and an engine admit, and which to take where the user names devices only."""

from __future__ import annotations

from collections.abc import Iterator

from inferwise.errors import BadInput
from inferwise.memory.placement import MIXERS
from inferwise.memory.weights import conversion
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component, Tensor

WIDTHS = (Component.MLP, Component.EXPERTS, Component.SHARED_EXPERTS)
# One process that deals layers by itself, with whatever devices it sees; the others need a rank a device.
ONE_PROCESS = ("llama.cpp", "ollama", "mlx", "transformers")


def check_dealing(model: Model, parallel: Parallel, weights: str | None = None) -> None:
    """Raises BadInput where tensor parallelism does not divide the heads or the widths, or a block of scales.

    As vLLM (0.19, config/model.py verify_with_parallel_config; layers/linear.py) and SGLang refuse them.
    """
    pipeline_stages(len(model.decoder.pattern), parallel.pp)
    for tensor, ranks, blocks in _dealt(model, parallel, weights):
        if tensor.units % ranks:
            what = "heads" if tensor.component in MIXERS else "columns"
            remedy = f"take a tp that divides {tensor.units:,}: {_divisors(tensor.units)}"
            raise BadInput(f"tp {ranks} does not divide {tensor.units:,} {what} of {tensor.name}", remedy=remedy)
        width = tensor.shape[-1] // ranks
        if blocks > 1 and tensor.shape[-1] % blocks == 0 and width % blocks:
            raise BadInput(
                f"tp {ranks} leaves {width:,} columns of {tensor.name}, no multiple of its blocks of {blocks}",
                remedy="take a smaller tp, or deal experts whole by ep",
            )


def _dealt(model: Model, parallel: Parallel, weights: str | None) -> Iterator[tuple[Tensor, int, int]]:
    """The last matrices of mixers and MLPs [hidden, what is dealt], their ranks, and the columns that share a scale."""
    made = conversion(weights) if weights else model.quantization.default if model.quantization else None
    tile = made.tile if made is not None else (0, 0)
    block = tile[1] if tile[0] > 1 else 1
    for layer in model.decoder.kinds:
        for tensor in layer.tensors():
            if not tensor.linear or len(tensor.shape) != 2 or tensor.shape[0] != model.hidden or tensor.units == 1:
                continue
            if tensor.component in MIXERS:
                yield tensor, parallel.attention_tp, 1
            elif tensor.component in WIDTHS:
                routed = tensor.component is Component.EXPERTS
                yield tensor, parallel.expert_tp if routed else parallel.tp, block


def _divisors(number: int) -> str:
    return ", ".join(str(tp) for tp in (1, 2, 4, 8, 16, 32, 64) if number % tp == 0)


def default_parallel(model: Model, engine: str, devices: int, weights: str | None = None) -> Parallel:
    """How an engine is usually dealt over so many devices: tp as far as it divides, pipeline stages for the rest.

    Experts are dealt whole where tensor parallelism would cut their blocks of scales.

    Engines of one process deal layers by themselves: no ranks. Raises BadInput for more stages than layers.
    """
    if devices == 1 or engine in ONE_PROCESS:
        return Parallel()
    for tp in sorted((tp for tp in range(1, devices + 1) if devices % tp == 0), reverse=True):
        for ep in (1, tp):  # experts whole on ranks, where their blocks of scales do not divide
            parallel = Parallel(tp=tp, pp=devices // tp, ep=ep)
            try:
                check_dealing(model, parallel, weights)
            except BadInput:
                continue
            return parallel
    return Parallel(pp=devices)
