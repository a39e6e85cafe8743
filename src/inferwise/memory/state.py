"""State bytes per device under TP, PP, attention DP and context parallelism, in an engine's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from inferwise.catalog.engines import engine as engine_of
from inferwise.spec.deployment import Parallel, pipeline_stages
from inferwise.spec.model import Model
from inferwise.spec.precision import cache_format
from inferwise.spec.state import State, StateKind, StateLayout, state_bytes
from inferwise.units import ceil_div


def layout_for(engine: str, *, kv: str | None = None, state: str | None = None) -> StateLayout:
    """The layout of an engine, with the formats that the user asked for. Raises UnknownName."""
    return layout_in(engine_of(engine).layout, kv=kv, state=state)


def layout_in(layout: StateLayout, *, kv: str | None = None, state: str | None = None) -> StateLayout:
    """A layout with the formats that the user asked for. Raises UnknownName."""
    if kv:
        layout = replace(layout, kv=cache_format(kv))
    if state:
        layout = replace(layout, recurrent=cache_format(state))
    return layout


@dataclass(frozen=True, slots=True)
class Kept:
    """A term of the state on one device of a stage: how many layers keep it, over how many ranks it is dealt."""

    state: State
    layers: int
    tp: int
    cp: int


def stage_states(model: Model, parallel: Parallel) -> list[list[Kept]]:
    """What one device of each pipeline stage keeps, equal terms once.

    Heads are dealt over the ranks of a sequence's attention (tp / dp), its tokens over cp of them, its layers over
    the pipeline stages. A latent is whole on every tensor-parallel rank unless context parallelism deals its tokens.
    """
    stack = model.decoder
    of_kind = [layer.state() for layer in stack.kinds]
    stages = []
    for stage in pipeline_stages(len(stack.pattern), parallel.pp):
        layers: Counter[State] = Counter()
        for kind, count in Counter(stack.pattern[stage.start : stage.stop]).items():
            for state in of_kind[kind]:
                layers[state] += count
        stages.append(
            [
                Kept(state, count, _head_ranks(state.kind, parallel), _token_ranks(state.kind, parallel))
                for state, count in layers.items()
            ]
        )
    return stages


def kept_bytes(kept: Sequence[Kept], tokens: int, layout: StateLayout, dtype: str) -> int:
    """Bytes of one sequence of `tokens` tokens on a device that keeps these terms."""
    return sum(each.layers * state_bytes(each.state, tokens, layout, dtype, tp=each.tp, cp=each.cp) for each in kept)


def stage_state_terms(
    model: Model, tokens: int, layout: StateLayout, parallel: Parallel, batch: int = 1
) -> list[dict[StateKind, int]]:
    """Bytes of state on one device of each pipeline stage for `batch` sequences of `tokens` tokens, by kind.

    The sequences are dealt over dp; see `stage_states`.
    """
    sequences = ceil_div(batch, parallel.dp)
    stages = []
    for kept in stage_states(model, parallel):
        terms: Counter[StateKind] = Counter()
        for each in kept:
            terms[each.state.kind] += sequences * kept_bytes([each], tokens, layout, model.dtype)
        stages.append({name: terms[name] for name in StateKind if terms[name]})
    return stages


def device_state_bytes(
    model: Model, tokens: int, layout: StateLayout, parallel: Parallel | None = None, batch: int = 1
) -> int:
    """Bytes of state on the device that holds most of it."""
    stages = stage_state_terms(model, tokens, layout, parallel or Parallel(), batch)
    return max(sum(terms.values()) for terms in stages)


def _token_ranks(kind: StateKind, parallel: Parallel) -> int:
    """Ranks that the tokens of this kind are dealt over: a state of constant size has none to deal."""
    return 1 if kind in (StateKind.RECURRENT, StateKind.CONVOLUTION) else parallel.cp


def _head_ranks(kind: StateKind, parallel: Parallel) -> int:
    """Ranks that heads are dealt over: those of the sequence that do not share its tokens."""
    return parallel.attention_tp // _token_ranks(kind, parallel)
