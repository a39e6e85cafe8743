"""What a token of a sequence, and a sequence itself, take of one device's cache: by window, undivided into pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from inferwise.spec.deployment import Parallel
from inferwise.spec.model import Model
from inferwise.spec.state import State, StateKind, StateLayout, state_bytes
from inferwise.units import ceil_div

CONSTANT = (StateKind.RECURRENT, StateKind.CONVOLUTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cache of one device's layers, summed over them [bytes].

    full: what one entry takes in the layers that keep every token, by the tokens that share an entry (1 but for
    compressed attention). windows: the same of layers that keep the last tokens only, by their window. largest: of one
    token in the layer that keeps most. sequence: what a sequence keeps whatever its length (recurrent state,
    convolution columns, an encoder's output). cp: ranks that a sequence's tokens are dealt over.
    """

    full: tuple[tuple[int, int], ...]
    windows: tuple[tuple[int, int], ...]
    largest: int
    sequence: int
    cp: int = 1

    @property
    def full_token(self) -> float:
        """One token in the layers that keep all."""
        return sum(size / ratio for ratio, size in self.full) / self.cp

    @property
    def window_token(self) -> float:
        """One token in the layers that keep a window."""
        return sum(size for _, size in self.windows) / self.cp

    @property
    def widest_window(self) -> int:
        """The longest window; 0 where there is none."""
        return max((window for window, _ in self.windows), default=0)

    def full_bytes(self, tokens: int) -> int:
        """`tokens` tokens in the layers that keep all."""
        return sum(ceil_div(tokens // ratio, self.cp) * size for ratio, size in self.full)

    def window_bytes(self, tokens: int, extra: int = 0) -> int:
        """`tokens` tokens in the layers that keep a window of them, and `extra` tokens more than it."""
        return sum(ceil_div(min(tokens, window + extra), self.cp) * size for window, size in self.windows)


def stage_cells(
    model: Model, layout: StateLayout, parallel: Parallel, layers: range, draft: tuple[tuple[State, int], ...] = ()
) -> Cells:
    """The cells of one device of the stage with these layers, and of what draft layers keep beside them."""
    pattern = Counter(model.decoder.pattern[layers.start : layers.stop])
    kept = [(state, count) for kind, count in pattern.items() for state in model.decoder.kinds[kind].state()]
    one = replace(layout, window_extra=0, window_multiple=1)
    full: Counter[int] = Counter()
    windows: Counter[int] = Counter()
    largest = sequence = 0
    for state, count in (*kept, *draft):
        constant = state.kind in CONSTANT or state.constant
        ranks = parallel.attention_tp // (1 if constant else parallel.cp)
        if constant or state.fixed_tokens is not None:
            sequence += count * state_bytes(state, 1, one, model.dtype, tp=ranks)
            continue
        size = state_bytes(state, state.ratio, one, model.dtype, tp=ranks)  # one entry
        largest = max(largest, size)
        if state.window is not None and layout.windows:
            windows[state.window] += count * size
        else:
            full[state.ratio] += count * size
    return Cells(
        full=tuple(sorted(full.items())),
        windows=tuple(sorted(windows.items())),
        largest=largest,
        sequence=sequence,
        cp=parallel.cp,
    )
