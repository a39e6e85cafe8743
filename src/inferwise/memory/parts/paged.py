"""vLLM's paged cache on one device: what a block takes, how many a pool holds, how many a sequence needs.

After vLLM's planning of its cache (v1/core/kv_cache_utils.py, since 0.33 kv_cache_planning.py, and
v1/kv_cache_interface.py) over our own State terms. A block id names a page of `block_tokens` tokens in every layer of
one group; groups of a hybrid model share the pool, so a block has the bytes of the largest group, and a sequence takes
ids for each group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from inferwise.memory.parts.paged_groups import Group, Keep, Rules, device_caches, grouped
from inferwise.spec.deployment import Parallel
from inferwise.spec.model import MAX_TOKENS, Model
from inferwise.spec.state import State, StateLayout
from inferwise.units import ceil_div

__all__ = ["Group", "Keep", "PageLayout", "Rules", "page_layout", "paging_rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLayout:
    """The pages of one device.

    groups: one entry for equal groups. block_bytes: of one block id on this device. slot_bytes: of recurrent state that
    a version keeps outside the pool, for each of max_num_seqs (V0). notes: where we depart from the version.
    """

    rules: Rules
    groups: tuple[Group, ...]
    block_bytes: int
    slot_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def group_count(self) -> int:
        """Groups of layers, each with a block table of its own."""
        return sum(group.copies for group in self.groups)

    @property
    def block_tokens(self) -> int:
        """Tokens of the smallest block; 0 where no layer keeps tokens."""
        return min((group.block_tokens for group in self.groups if group.keep is not Keep.STATE), default=0)

    def blocks_in(self, pool_bytes: int) -> int:
        """Whole blocks of a pool; pipeline stages all take the least of theirs. 0 where nothing is paged."""
        return max(pool_bytes, 0) // self.block_bytes if self.block_bytes else 0

    def sequence_blocks(self, tokens: int, batched_tokens: int | None = None) -> int:
        """Blocks that vLLM reckons for one sequence of `tokens` tokens (its check at the start, and its log).

        A window keeps its tokens and those of the steps in flight, `batched_tokens` (None: whole steps), and may
        straddle one block more.
        """
        batched = self.rules.flight_tokens if batched_tokens is None else batched_tokens
        return sum(group.copies * group.blocks(tokens, batched) for group in self.groups)

    def sequence_bytes(self, tokens: int, batched_tokens: int | None = None) -> int:
        """Bytes of the pool that `sequence_blocks` are."""
        return self.sequence_blocks(tokens, batched_tokens) * self.block_bytes

    def held_blocks(self, tokens: int, sequences: int = 1) -> int:
        """Most blocks that running sequences of `tokens` tokens hold at once.

        The tokens of a step are shared by all sequences, so windows hold their own tokens each and one step's together.
        """
        blocks, flight = 0, self.rules.flight_tokens
        for group in self.groups:
            each, alone = group.blocks(tokens, 1), group.blocks(tokens, flight)
            step = ceil_div(flight, group.block_tokens) if alone > each else 0
            blocks += group.copies * min(sequences * alone, sequences * each + step)
        return blocks

    def fits(self, blocks: int, tokens: int, sequences: int = 1) -> bool:
        """Whether `blocks` hold `sequences` of `tokens` tokens, and vLLM starts at that length."""
        usable = blocks - self.rules.null_blocks
        if not self.block_bytes:
            return True
        return self.sequence_blocks(tokens) <= usable and self.held_blocks(tokens, sequences) <= usable

    def max_concurrency(self, pool_bytes: int, tokens: int) -> float:
        """`Maximum concurrency for N tokens per request`, as vLLM logs it."""
        needed = self.sequence_blocks(tokens)
        return self.blocks_in(pool_bytes) / needed if needed else float("inf")

    def tokens_logged(self, pool_bytes: int, tokens: int) -> int:
        """`GPU KV cache size: N tokens`, as vLLM logs it for a max_model_len of `tokens`.

        Until 0.19 from blocks, split evenly over the groups; since 0.20 concurrency x max_model_len.
        """
        if self.rules.logs_concurrency or not self.block_tokens:
            concurrency = self.max_concurrency(pool_bytes, tokens)
            return int(concurrency * tokens) if self.block_bytes else 0
        return self.blocks_in(pool_bytes) // self.group_count * self.block_tokens * self.rules.token_ranks

    def most(self, pool_bytes: int, tokens: int, high: int = 2**20) -> int:
        """Most sequences of `tokens` tokens that run at once, at most `high`."""
        blocks = self.blocks_in(pool_bytes)
        if not self.fits(blocks, tokens):
            return 0
        if not self.block_bytes:
            return high
        low = 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(blocks, tokens, middle) else (low, middle - 1)
        return low

    def longest(self, pool_bytes: int, sequences: int = 1) -> int | None:
        """Longest length of `sequences` that run at once; 0: none; None: memory does not limit it."""
        blocks = self.blocks_in(pool_bytes)
        if self.fits(blocks, MAX_TOKENS, sequences):
            return None
        if not self.fits(blocks, 1, sequences):
            return 0
        low, high = 1, MAX_TOKENS
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.fits(blocks, middle, sequences) else (low, middle - 1)
        return low


def page_layout(
    model: Model,
    layout: StateLayout,
    parallel: Parallel,
    stage: range,
    rules: Rules,
    extra: tuple[tuple[State, int], ...] = (),
) -> PageLayout:
    """The pages of one rank of a pipeline stage (`stage`: its layers).

    Groups are made for the whole model and then cut to the stage's layers. extra: caches of a draft model or of MTP
    layers with their counts, held by the last stage (give them for every stage). Sequences are dealt over parallel.dp
    by the caller.
    """
    steps = parallel.pp + 1 if rules.steps_in_flight > 1 else 1
    ruled = replace(rules, token_ranks=parallel.cp, steps_in_flight=steps)
    caches, slot_bytes = device_caches(model, layout, parallel, stage, ruled, extra)
    groups, block_bytes, notes = grouped(caches, ruled)
    return PageLayout(rules=ruled, groups=groups, block_bytes=block_bytes, slot_bytes=slot_bytes, notes=notes)


def paging_rules(defaults: Mapping[str, Any], *, latent: bool, **flags: int) -> Rules:
    """The rules of a version from its `defaults` (catalog/engines/vllm.toml), with the user's flags.

    latent: whether the model keeps latents (their kernels have blocks of their own). flags: block_size,
    max_num_batched_tokens, speculative_tokens; absent or 0: the version's.
    """
    own = defaults["block_size_latent"] if latent else defaults["block_size"]
    return Rules(
        block_tokens=flags.get("block_size") or own,
        compressed_tokens=defaults["block_size_compressed"],
        window_tokens=defaults["block_size_window"],
        step_tokens=flags.get("max_num_batched_tokens") or defaults["max_num_batched_tokens"],
        steps_in_flight=defaults["steps_in_flight"],
        hybrid=defaults["hybrid_groups"],
        chunks=defaults["hybrid_chunks"],
        group_slack=defaults["group_slack"],
        paged_state=defaults["paged_state"],
        state_blocks=defaults["state_blocks"] + flags.get("speculative_tokens", 0),
        state_align=defaults["state_align_latent"] if latent else defaults["state_align"],
        null_blocks=defaults["null_blocks"],
        logs_concurrency=defaults["logs_concurrency"],
    )
