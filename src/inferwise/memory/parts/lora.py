"""What adapter slots take: two thin matrices beside every linear weight of the decoder."""

from __future__ import annotations

from collections.abc import Iterable

from inferwise.memory.formatted import FormattedTensor
from inferwise.spec.engine import Lora
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component
from inferwise.units import ceil_div

ADAPTED = (Component.ATTENTION, Component.RECURRENT, Component.MLP, Component.SHARED_EXPERTS)


def lora_bytes(model: Model, tensors: Iterable[FormattedTensor], lora: Lora, element_bytes: int = 2) -> int:
    """Bytes of `slots` adapters on one device, whose share of the decoder's tensors is given.

    A: rank x in, B: out x rank, for each linear weight [out, in] of attention and dense MLPs (routed experts and
    routers are left alone, as in most published adapters). Of a column-parallel weight A is whole on every rank and B
    dealt, of a row-parallel one (it gives the hidden width) A is dealt and B whole (vLLM 0.19, lora/layers, not
    fully sharded; Hu et al. 2021, arXiv:2106.09685).
    """
    elements = 0
    for each in tensors:
        tensor = each.tensor
        adapted = tensor.linear and len(tensor.shape) == 2 and tensor.component in ADAPTED
        if not adapted or each.stack is not model.decoder or each.layers is None:
            continue
        rows, columns = tensor.shape
        pieces = tensor.units if each.pieces is None else each.pieces
        if rows == model.hidden:
            columns = ceil_div(columns * pieces, tensor.units)
        else:
            rows = ceil_div(rows * pieces, tensor.units)
        elements += (rows + columns) * lora.rank * each.count * tensor.copies
    return elements * lora.slots * element_bytes
