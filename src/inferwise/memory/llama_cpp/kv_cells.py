"""The cells of llama.cpp's KV caches, and their bytes by layer (src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp)."""

from __future__ import annotations

from dataclasses import dataclass
from operator import mul

from inferwise.memory.llama_cpp.layers import Layers, constant_bytes
from inferwise.spec.precision import cache_row_bytes
from inferwise.spec.state import State, StateKind
from inferwise.units import round_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """How the caches are laid out.

    slots: sequences; streams: caches of their own (1 where all share one). tokens: cells of a stream in full layers;
    extra: a micro-batch, that windows keep beyond themselves; multiple: cells come in. windows: whether windowed
    layers have a cache of their own. absorbed: whether an MLA layer keeps the latent only.
    """

    slots: int
    streams: int
    tokens: int
    extra: int
    multiple: int
    windows: bool = True
    absorbed: bool = True

    @property
    def total(self) -> int:
        """`n_ctx`: cells of all streams in full layers."""
        return self.tokens * self.streams

    def of(self, state: State) -> int:
        """Cells of a stream for one term."""
        if state.window is None or not self.windows:
            return self.tokens
        window = state.window * (self.slots // self.streams) + self.extra
        return min(self.tokens, round_up(window, self.multiple))


def cells_for(context: int, slots: int, ubatch: int, *, unified: bool, multiple: int, **kinds: bool) -> Cells:
    """The cells of `slots` sequences of `context` tokens."""
    tokens = round_up(context * slots if unified else context, multiple)
    return Cells(
        slots=slots,
        streams=1 if unified else slots,
        tokens=tokens,
        extra=min(ubatch, tokens * (1 if unified else slots)),
        multiple=multiple,
        **kinds,
    )


def cell_bytes(state: State, kv: str, index: str) -> int:
    """Bytes of one cell: K and V rows of their own, or a latent."""
    if state.kind is StateKind.INDEX:
        return cache_row_bytes(index, state.elements)
    return cache_row_bytes(kv, state.elements, row=state.row)


def kv_bytes(states: tuple[State, ...], cells: Cells, kv: str, index: str) -> int:
    """Bytes of one layer's cache for all slots."""
    return sum(cells.of(state) * cells.streams * cell_bytes(state, kv, index) for state in states if not state.constant)


@dataclass(frozen=True, slots=True)
class CacheBytes:
    """Bytes of one layer of each kind: of KV, and of recurrent state; for all slots."""

    kv: tuple[int, ...]
    recurrent: tuple[int, ...]

    def of(self, layers: Layers, start: int, stop: int) -> tuple[int, int]:
        """Both, of a run of layers."""
        counts = [until[stop] - until[start] for until in layers.kinds_until]
        return sum(map(mul, counts, self.kv)), sum(map(mul, counts, self.recurrent))


def cache_bytes(layers: Layers, cells: Cells, kv: str, index: str) -> CacheBytes:
    """What a layer of each kind keeps for all slots."""
    return CacheBytes(
        tuple(
            cells.total * cache_row_bytes(kv, values)
            if values and not cells.absorbed
            else kv_bytes(states, cells, kv, index)
            for states, values in zip(layers.states, layers.heads_values, strict=True)
        ),
        tuple(constant_bytes(states) * cells.slots for states in layers.states),
    )
