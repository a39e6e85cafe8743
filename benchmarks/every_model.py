"""Times a decode and a prefill step of every model of the catalog, and lists what raises or lies under a floor.

    python benchmarks/every_model.py [h100-sxm-80gb:1,2,8 rtx-4090:1 ...]

Floors: weights that the step's matrices read over the bandwidth, for models without experts; and coverage: bytes of
the matrices and experts that are timed over those that the accounting of memory holds (embedding, norms and small
tensors apart), which shows what no operator stands for.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from inferwise.catalog.hardware import hardware
from inferwise.catalog.models import names
from inferwise.errors import InferwiseError
from inferwise.memory.deploy import deployment
from inferwise.memory.placement import TOWERS, stages
from inferwise.read.resolve import resolve
from inferwise.spec.blocks import Shared
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component
from inferwise.timing.decompose.stage import generates
from inferwise.timing.deploy import forward
from inferwise.timing.forward import Forward, step_seconds
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.operators.passes import Passes
from inferwise.timing.step import Step

DECODE = Step(decodes=1.0, context=1024.0)
PREFILL = Step(prompts=1.0, prompt_tokens=512.0)
LEAST_COVERED, MOST_COVERED = 0.9, 1.05  # a model of 23 MB over 8 ranks has its small tensors left
SMALL = (Component.EMBEDDING, Component.NORM, Component.MTP, Component.OTHER, *TOWERS)


@dataclass(frozen=True, slots=True)
class Timed:
    """A model on a device: seconds of both steps, the floor of the decode, and the share of its matrices covered;
    shared: whether layers run one another's weights, which are then read more than once."""

    decode_s: float
    prefill_s: float
    floor_s: float
    covered: float
    shared: bool


def timed(model: Model, device: str, tp: int) -> Timed:
    """Times a model."""
    case = deployment(model, hardware(device), degrees={"tp": tp})
    made = forward(case)
    dense = sum(
        each.weight_bytes * each.count for each in made.stages[0] if isinstance(each, Gemm) and each.rows == "tokens"
    )
    moe = any(isinstance(each, RoutedExperts) for each in made.stages[0])
    rate = made.stages[0][0].bytes_per_s
    return Timed(
        decode_s=float(step_seconds(made, DECODE)),
        prefill_s=float(step_seconds(made, PREFILL)),
        floor_s=0.0 if moe or not generates(model) else dense / rate,
        covered=coverage(made, model),
        shared=any(isinstance(block, Shared) for layer in model.decoder.kinds for block in layer.blocks),
    )


def coverage(made: Forward, model: Model) -> float:
    """Bytes that operators read over those that the first device holds, matrices of the decoder alone."""
    stage = stages(model, made.case.weights, made.case.parallel)[0]
    held = sum(each.size_bytes for each in stage.tensors if each.component not in SMALL and _matrix(each.tensor.shape))
    decoder = [each for each in _matrices(made) if each.part != "encoder"]
    read = sum(each.weight_bytes * each.count for each in decoder)
    read -= sum(each.weight_bytes for each in decoder if each.part == "head" and model.tied)
    routed = [each for each in made.stages[0] if isinstance(each, RoutedExperts)]
    read += sum(each.expert_bytes * each.held * each.count for each in routed)
    return read / held if held else 1.0


def _matrix(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and min(shape) > 1


def _matrices(made: Forward) -> Iterator[Gemm]:
    for operator in made.stages[0]:
        if isinstance(operator, Gemm):
            yield operator
        elif isinstance(operator, Passes) and isinstance(operator.inner, Gemm):
            yield Gemm(
                **{name: getattr(operator.inner, name) for name in Gemm.__dataclass_fields__ if name != "count"},
                count=operator.count,
            )


def main() -> None:
    """Prints every model that is off, and a count."""
    asked = sys.argv[1:] or ["h100-sxm-80gb:1,2,8", "rtx-4090:1"]
    total = wrong = 0
    for text in asked:
        device, _, degrees = text.partition(":")
        for name in names():
            for tp in (int(each) for each in (degrees or "1").split(",")):
                total += 1
                try:
                    found = timed(resolve(name), device, tp)
                except InferwiseError as error:
                    print(f"{name} {device} tp {tp}: refused: {error}")
                    continue
                except Exception as error:  # what the run looks for
                    wrong += 1
                    print(f"{name} {device} tp {tp}: {type(error).__name__}: {error}")
                    continue
                if said := off(found):
                    wrong += 1
                    print(f"{name} {device} tp {tp}: {said}")
    print(f"{total} cases, {wrong} off")


def off(found: Timed) -> str:
    """What is wrong with a timing; empty: nothing."""
    if not all(math.isfinite(value) for value in (found.decode_s, found.prefill_s, found.covered)):
        return f"not finite: {found}"
    if found.prefill_s <= 0 or found.decode_s < 0:
        return f"no time: {found}"
    if found.decode_s < found.floor_s:
        return f"decode {1e3 * found.decode_s:.3f} ms under its floor of {1e3 * found.floor_s:.3f} ms"
    if not LEAST_COVERED <= found.covered <= (math.inf if found.shared else MOST_COVERED):
        return f"operators read {100 * found.covered:.1f} % of the decoder's matrices"
    return ""


if __name__ == "__main__":
    main()
