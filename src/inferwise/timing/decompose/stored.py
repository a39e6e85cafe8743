"""The formats that a GGUF file stores tensors in: they differ from tensor to tensor, and from layer to layer."""

from __future__ import annotations

from dataclasses import replace

from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.llama_cpp.layers import layers_of, stored_name
from inferwise.memory.placement import Stage
from inferwise.spec.model import Model
from inferwise.spec.weight_formats import stored_format


def as_stored(model: Model, weights: str | None, stage: Stage) -> Stage:
    """A stage whose tensors have the formats of the model's GGUF file; as it is where the weights are no such file's.

    Tensors that the file does not name keep the format of the formulas.
    """
    if weights is not None or model.stored is None or not model.stored.gguf:
        return stage
    known = {(piece.layer, piece.name): piece.format for piece in layers_of(model, None).pieces}
    found: list[FormattedTensor] = []
    for each in stage.tensors:
        name = stored_name(each)
        if each.layers is None:
            stored = known.get((None, name))
            found.append(replace(each, format=stored_format(stored)) if stored else each)
            continue
        by_format: dict[str, list[int]] = {}
        for layer in each.layers:
            by_format.setdefault(known.get((layer, name), each.format.name), []).append(layer)
        for stored, layers in by_format.items():
            own = each.format if stored == each.format.name else stored_format(stored)
            found.append(replace(each, format=own, layers=tuple(layers)))
    return replace(stage, tensors=tuple(found))
