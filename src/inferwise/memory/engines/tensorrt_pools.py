"""TensorRT-LLM's pools on one device: dealt over windows, in blocks, and the sequences that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.memory.parts.cells import Cells
from inferwise.spec.model import MAX_TOKENS
from inferwise.units import ceil_div


@dataclass(frozen=True, slots=True)
class Flags:
    """What bears on memory: free_gpu_memory_fraction, max_batch_size, max_num_tokens, tokens_per_block, graphs.

    length: max_seq_len, which we take to be the context.
    """

    fraction: float
    sequences: int
    tokens: int
    block: int
    graphs: bool
    length: int
    origins: tuple[tuple[str, Any, str], ...]


@dataclass(frozen=True, slots=True)
class Pools:
    """A device's pools out of `size_bytes`: whole blocks of full layers, and of each window's."""

    size_bytes: int
    blocks: int
    windows: tuple[tuple[int, int, int], ...]  # window, bytes of a block, blocks


def pools_of(flags: Flags, cells: Cells, size: int) -> Pools:
    """The pool dealt over windows: each has a part by its bytes a token x its window (full layers': the length).

    (cpp/tensorrt_llm/batch_manager/kvCacheManager.cpp, calculateWindowSizeToShare.)
    """
    size = max(size, 0)
    full = cells.full_token * flags.length
    whole = full + sum(min(window, flags.length) * each for window, each in cells.windows) / cells.cp
    windows = []
    for window, each in cells.windows:
        share = size * min(window, flags.length) * each / cells.cp / whole
        block = ceil_div(flags.block * each, cells.cp)
        windows.append((window, block, int(share // block)))
    blocks = int(size * full / whole // block_bytes(flags, cells)) if full else 0
    return Pools(size, blocks, tuple(windows))


def block_bytes(flags: Flags, cells: Cells) -> int:
    """A block of the layers that keep every token."""
    return max(int(flags.block * cells.full_token), 1)


def tokens_of(flags: Flags, cells: Cells, pools: Pools) -> int:
    """Tokens that a device's pool holds, as the engine reports them."""
    if cells.full or not cells.windows:
        return pools.blocks * flags.block if cells.full else MAX_TOKENS
    return min(blocks for _, _, blocks in pools.windows) * flags.block


def _window_blocks(flags: Flags, window: int, context: int) -> int:
    """Blocks of one sequence in a window's pool: it may begin inside a block, which is one more."""
    return min(ceil_div(context, flags.block), ceil_div(window, flags.block) + 1)


def sequence_bytes(flags: Flags, cells: Cells, context: int, state: int) -> int:
    """What a sequence takes of all pools, in whole blocks."""
    size = state + ceil_div(context, flags.block) * block_bytes(flags, cells) * bool(cells.full)
    return size + sum(
        _window_blocks(flags, window, context) * ceil_div(flags.block * each, cells.cp)
        for window, each in cells.windows
    )


def sequences_in(flags: Flags, cells: Cells, pools: Pools, context: int, state: int) -> int:
    """Sequences of `context` tokens that the pools of one replica of attention hold."""
    blocks = ceil_div(context, flags.block)
    limits = [have // _window_blocks(flags, window, context) for window, _, have in pools.windows]
    if cells.full:
        each = blocks * block_bytes(flags, cells)
        limits.append(pools.blocks * block_bytes(flags, cells) // (each + state))
    elif state:
        limits.append(pools.size_bytes // state)
    return min(limits, default=flags.sequences)


def longest_in(flags: Flags, cells: Cells, pools: Pools, rows: int, state: int) -> int | None:
    """The longest context of which `rows` sequences fit; None where the pool does not limit it."""
    longest = MAX_TOKENS
    for window, _, have in pools.windows:
        if have // rows < ceil_div(window, flags.block) + 1:
            longest = min(longest, have // rows * flags.block)
    if cells.full:
        room = pools.blocks * block_bytes(flags, cells) // rows - state
        longest = min(longest, max(room // block_bytes(flags, cells), 0) * flags.block)
    elif state and pools.size_bytes // state < rows:
        longest = 0
    return None if longest == MAX_TOKENS else longest
