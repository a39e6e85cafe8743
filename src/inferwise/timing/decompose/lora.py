"""Adapters as operators: a shrink and an expand beside each linear layer of the decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.parts.lora import ADAPTED
from inferwise.memory.placement import MIXERS
from inferwise.timing.decompose.linear import Part, parts
from inferwise.timing.decompose.site import Site
from inferwise.timing.operators.adapters import Adapters
from inferwise.timing.operators.base import Operator

# Engines that put one adapter's sequences in a batch (llama.cpp, tools/server: slots whose adapters differ are not
# batched together), in F32 as its converter stores them; the others serve many at once in 16 bits.
ALONE = ("llama.cpp", "ollama")


def adapters(site: Site, tensors: Iterable[FormattedTensor]) -> Iterator[Operator]:
    """The adapters of one device's decoder layers: one pair of kernels for all layers of one input.

    Which layers have one, and how each matrix is dealt, as in memory/parts/lora.py. vLLM (lora/punica_wrapper) and
    SGLang (lora/triton_ops) run the layers that are packed together, q, k and v or gate and up, in one pair of kernels
    whose grid counts them; efficiencies are those of a dense 16-bit GEMM, for no adapter kernel was timed.
    """
    lora, model = site.case.lora, site.case.model
    if lora is None:
        return
    mine = [each for each in tensors if _adapted(each) and each.stack is model.decoder and each.layers is not None]
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts(mine, model.hidden):
        each = part.tensor
        groups.setdefault((each.layers, part.parent, part.k, part.module if part.output else ""), []).append(part)
    alone = site.case.engine.name in ALONE
    for group in groups.values():
        first = group[0].tensor
        module = "+".join(dict.fromkeys(part.module for part in group))
        yield Adapters(
            **site.common(f"adapters of {module}", "lora", first.count, "gemm", "bf16"),
            n=sum(part.n for part in group),
            k=group[0].k,
            rank=float(lora.rank),
            slices=float(len(group)),
            slots=float(lora.slots),
            together=1.0 if alone else float(lora.slots),
            element_bytes=4.0 if alone else 2.0,
            share=1 / site.case.parallel.dp if first.tensor.component in MIXERS else 1.0,
        )


def _adapted(each: FormattedTensor) -> bool:
    """Whether a weight has an adapter: a linear layer of attention, a recurrence or a dense MLP."""
    return each.tensor.linear and len(each.tensor.shape) == 2 and each.tensor.component in ADAPTED
