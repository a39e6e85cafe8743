"""Weight bytes per device: what tensor, pipeline, expert and attention data parallelism leave on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from inferwise.memory.formatted import FormattedTensor
from inferwise.memory.same import Same
from inferwise.memory.weights import (
    WeightBytes,
    WeightTerm,
    description,
    formatted_tensors,
    weight_bytes,
    weights_of,
)
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.model import Model
from inferwise.spec.tensor import Component
from inferwise.units import ceil_div

MIXERS = (Component.ATTENTION, Component.RECURRENT)
TOWERS = (Component.VISION, Component.AUDIO)


@dataclass(frozen=True, slots=True)
class Stage:
    """What one device of a pipeline stage holds: its layers, the bytes of its weights, and the tensors behind them."""

    layers: range
    weights: WeightBytes
    tensors: tuple[FormattedTensor, ...]


def stage_weights(model: Model, weights: str | None, parallel: Parallel) -> list[WeightBytes]:
    """Weights on one device of each pipeline stage; see `stages`."""
    return [stage.weights for stage in stages(model, weights, parallel)]


def stages(
    model: Model,
    weights: str | None,
    parallel: Parallel,
    *,
    mtp: bool = False,
    encoder: bool = True,
    runs: Sequence[range] | None = None,
) -> list[Stage]:
    """What one device of each pipeline stage holds.

    runs: the layers of each stage, in order, where they are not dealt evenly.
    A tensor's `units` are dealt over tp ranks (those of attention over tp / dp: attention data parallelism keeps a
    copy each), routed experts whole over ep groups of ranks, and cut over the tp / ep of a group. The first stage has
    the embedding and the encoders (unless not `encoder`), the last one the final norm, the head (and a tied embedding
    again) and the MTP layers where `mtp`. Formats as in `weight_bytes`; weights that a header tells are dealt in the
    proportion of the formulas. A block that layers share (Zamba's) is counted on the stage of the first of them only:
    with pp > 1 the others hold a copy more than this says.
    """
    dealt = tuple(pipeline_stages(len(model.decoder.pattern), parallel.pp) if runs is None else runs)
    return list(_stages(Same(model), weights, parallel, mtp, encoder, dealt))


@lru_cache(maxsize=64)
def _stages(
    same: Same, weights: str | None, parallel: Parallel, mtp: bool, encoder: bool, dealt: tuple[range, ...]
) -> tuple[Stage, ...]:
    """See `stages`; an answer asks for the same ones several times."""
    model = same.model
    basis, exact, notes = description(model, weights)
    by_header = weights is None and model.stored is not None
    plain = replace(model, stored=None) if by_header else model
    if by_header and model.quantization is not None and model.quantization.unsized:
        plain = replace(plain, quantization=None)  # the shapes are what there is to go by
    tensors = [each for each in formatted_tensors(plain, weights) if encoder or each.component not in TOWERS]
    whole = weight_bytes(model) if by_header else None
    if whole is not None and not encoder:
        whole = replace(whole, terms=tuple(term for term in whole.terms if term.component not in TOWERS))
    if whole is not None and mtp:
        whole = with_mtp(whole)
    held = []
    for layers in dealt:
        share = tuple(_shares(model, tensors, layers, parallel))
        sized = weights_of(share, basis, exact=exact, notes=notes)
        sized = with_mtp(sized) if mtp else sized
        if whole is not None:
            formulas = weights_of(tensors, basis)
            alone = parallel.tp == len(dealt) == 1
            sized = whole if alone else _scaled(whole, with_mtp(formulas) if mtp else formulas, sized)
        kept = share if mtp else tuple(each for each in share if each.component is not Component.MTP)
        held.append(Stage(layers, sized, kept))
    return tuple(held)


def with_mtp(weights: WeightBytes) -> WeightBytes:
    """Weights with the MTP layers that stood beside them."""
    mtp = tuple(term for term in weights.beside if term.component is Component.MTP)
    if not mtp:
        return weights
    beside = tuple(term for term in weights.beside if term.component is not Component.MTP)
    return replace(weights, terms=(*weights.terms, *mtp), beside=beside)


def _shares(
    model: Model, tensors: list[FormattedTensor], stage: range, parallel: Parallel
) -> Iterator[FormattedTensor]:
    """The tensors of one stage's device, each as its share."""
    first, last = stage.start == 0, stage.stop == len(model.decoder.pattern)
    for each in tensors:
        if each.stack is not model.decoder:
            if last if each.component is Component.MTP else first:
                yield _dealt(each, parallel)
        elif each.layers is not None:
            layers = tuple(layer for layer in each.layers if layer in stage)
            if layers:
                yield _dealt(replace(each, layers=layers), parallel)
        elif (first or (last and model.tied)) if each.component is Component.EMBEDDING else last:
            yield _dealt(each, parallel)


def _dealt(whole: FormattedTensor, parallel: Parallel) -> FormattedTensor:
    """A device's share of a tensor."""
    tensor = whole.tensor
    if tensor.component is Component.EXPERTS and parallel.ep > 1:
        pieces = ceil_div(tensor.units, parallel.expert_tp)
        return replace(whole, copies=ceil_div(tensor.copies, parallel.ep), pieces=pieces)
    ranks = parallel.attention_tp if tensor.component in MIXERS else parallel.tp
    return replace(whole, pieces=ceil_div(tensor.units, ranks))


def _scaled(stored: WeightBytes, formulas: WeightBytes, share: WeightBytes) -> WeightBytes:
    """Stored bytes of each component in the proportion that the formulas give its share."""
    whole, part = formulas.by_component(), share.by_component()
    total, held = formulas.total, share.total

    def dealt(term: WeightTerm) -> WeightTerm:
        over, under = part.get(term.component, 0), whole.get(term.component, 0)
        if not under:  # a component that only the header has
            over, under = held, total
        return replace(term, size_bytes=ceil_div(term.size_bytes * over, under))

    return replace(stored, terms=tuple(dealt(term) for term in stored.terms), beside=())
