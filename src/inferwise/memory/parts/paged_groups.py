"""The caches of a device's layers, and how vLLM puts them into groups of equal pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from inferwise.spec.blocks import Layer
from inferwise.spec.deployment import Parallel
from inferwise.spec.model import Model
from inferwise.spec.state import State, StateLayout, state_bytes
from inferwise.units import ceil_div

CHUNKED = "chunked_attention"


class Keep(StrEnum):
    """What a cache keeps of a sequence: every token, a sliding window, a chunk, an encoder's output, or one state."""

    FULL = "full"
    WINDOW = "window"
    CHUNK = "chunk"
    CROSS = "cross"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a version of vLLM pages, with its flags.

    block_tokens: --block-size; compressed_tokens, window_tokens: of DeepSeek-V4's caches. step_tokens:
    max_num_batched_tokens. steps_in_flight: steps at once, whose tokens windows are kept for. hybrid: whether windows
    have groups of their own (else their layers keep every token where others do); chunks: the same of chunked
    attention. group_slack: a model whose largest kind of layer has less than so many times the smallest's layers is
    padded to the largest. paged_state: whether recurrent state lives in the pool. state_blocks: pages of a sequence in
    each layer with one. state_align: tokens that a block beside such layers is a multiple of. null_blocks: blocks that
    no sequence gets. logs_concurrency: see tokens_logged. token_ranks: ranks that a sequence's tokens are dealt over.
    """

    block_tokens: int = 16
    compressed_tokens: int = 256
    window_tokens: int = 64
    step_tokens: int = 8192
    steps_in_flight: int = 1
    hybrid: bool = True
    chunks: bool = True
    group_slack: float = 1.5
    paged_state: bool = True
    state_blocks: int = 1
    state_align: int = 16
    null_blocks: int = 1
    logs_concurrency: bool = True
    token_ranks: int = 1

    @property
    def flight_tokens(self) -> int:
        """Tokens of the steps in flight."""
        return self.step_tokens * self.steps_in_flight


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache of one layer on this device.

    entry_bytes: of `ratio` tokens, or of a whole state. span: tokens of the window or chunk, or entries of the
    encoder's output. ranks: that its tokens are dealt over. shape: heads and their width; unlike ones never share a
    group.
    """

    keep: Keep
    entry_bytes: int
    ratio: int = 1
    span: int = 0
    ranks: int = 1
    shape: tuple[int, int] = (0, 0)

    def page_bytes(self, block_tokens: int) -> int:
        """A page of `block_tokens` tokens."""
        return self.entry_bytes if self.keep is Keep.STATE else self.entry_bytes * max(block_tokens // self.ratio, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`copies` equal groups: each `layers` layers (the most of them on this device) with one block table.

    used_bytes: of a block in those layers, before it is padded to the block of the largest group. state_blocks: pages
    of a state.
    """

    keep: Keep
    layers: int
    copies: int
    block_tokens: int
    used_bytes: int
    span: int = 0
    ranks: int = 1
    state_blocks: int = 1

    def blocks(self, tokens: int, batched_tokens: int) -> int:
        """Blocks of one sequence in one of the groups, with `batched_tokens` tokens in flight."""
        if self.keep is Keep.FULL:
            return ceil_div(ceil_div(tokens, self.ranks), self.block_tokens)
        if self.keep is Keep.STATE:
            return self.state_blocks
        if self.keep is Keep.CROSS:
            return ceil_div(self.span, self.block_tokens)
        if self.keep is Keep.CHUNK:
            return ceil_div(min(self.span + batched_tokens, tokens), self.block_tokens)
        return ceil_div(min(self.span - 1 + batched_tokens, tokens), self.block_tokens) + 1


@dataclass(slots=True)
class Counted:
    """Layers with a cache: of the model, and of the stage; with the block and page that they are given."""

    cache: Cache
    total: int
    held: int
    block_tokens: int = 0
    page_bytes: int = 0


def device_caches(
    model: Model,
    layout: StateLayout,
    parallel: Parallel,
    stage: range,
    rules: Rules,
    extra: tuple[tuple[State, int], ...] = (),
) -> tuple[list[Counted], int]:
    """Distinct caches with their layers, and the bytes of state of one sequence that stays outside the pool."""
    pattern = model.decoder.pattern
    totals, held = Counter(pattern), Counter(pattern[stage.start : stage.stop])
    caches: dict[Cache, Counted] = {}

    def add(cache: Cache, total: int, here: int) -> None:
        known = caches.setdefault(cache, Counted(cache, 0, 0))
        known.total += total
        known.held += here

    slots = 0
    for index, total in totals.items():
        for cache in layer_caches(model.decoder.kinds[index], model.dtype, layout, parallel):
            if cache.keep is Keep.STATE and not rules.paged_state:
                slots += cache.entry_bytes * held[index]
            else:
                add(cache, total, held[index])
    last = stage.stop == len(pattern)
    for state, count in extra:
        add(state_cache(state, model.dtype, layout, parallel), count, count if last else 0)
    return list(caches.values()), slots


def layer_caches(layer: Layer, dtype: str, layout: StateLayout, parallel: Parallel) -> Iterable[Cache]:
    """The caches that a layer registers: one for each term that grows with the tokens, one for all constant ones."""
    constant = 0
    for state in layer.state():
        cache = state_cache(state, dtype, layout, parallel, chunked=layer.kind == CHUNKED)
        if cache.keep is Keep.STATE:
            constant += cache.entry_bytes
        else:
            yield cache
    if constant:
        yield Cache(Keep.STATE, constant)


def state_cache(state: State, dtype: str, layout: StateLayout, parallel: Parallel, *, chunked: bool = False) -> Cache:
    """The cache of one term. Heads are dealt over the ranks of attention; tokens of whole-length caches over cp."""
    windowed = state.window is not None and layout.windows
    whole = state.constant or windowed or state.fixed_tokens is not None  # nothing of it is dealt by tokens
    tp = parallel.attention_tp if whole else parallel.attention_tp // parallel.cp
    one = replace(state, window=None, fixed_tokens=None)
    entry = state_bytes(one, state.ratio, layout, dtype, tp=tp)
    if state.constant:
        return Cache(Keep.STATE, entry)
    shape = ceil_div(state.units, tp), state.row or state.elements
    if state.fixed_tokens is not None:
        return Cache(Keep.CROSS, entry, span=state.fixed_tokens, shape=shape)
    if windowed:
        keep = Keep.CHUNK if chunked else Keep.WINDOW
        return Cache(keep, entry, ratio=state.ratio, span=state.window or 0, shape=shape)
    return Cache(Keep.FULL, entry, ratio=state.ratio, ranks=parallel.cp, shape=shape)


def grouped(caches: Sequence[Counted], rules: Rules) -> tuple[tuple[Group, ...], int, tuple[str, ...]]:
    """Groups, bytes of a block on this device, and notes."""
    layers = _promoted(caches, rules)
    if not layers:
        return (), 0, ()
    block = _block_beside_state(layers, rules)
    for each in layers:
        each.block_tokens = block
        each.page_bytes = each.cache.page_bytes(block)
    notes: list[str] = []
    kinds = {(each.cache.keep, each.cache.span, each.cache.ranks) for each in layers}
    if len(kinds) == 1 and (len(layers) == 1 or layers[0].cache.keep is not Keep.STATE):
        group = _group(layers, 1, rules)
        return (group,), group.used_bytes, ()
    if any(each.cache.ratio > 1 and each.cache.keep is Keep.FULL for each in layers):
        return _packed(layers, rules)
    _unify(layers, notes)
    buckets = _buckets(layers)
    counts = [each.total for each in buckets]
    size = min(counts)
    if max(counts) < size * rules.group_slack:
        size = max(counts)
    groups = tuple(_group([each], ceil_div(each.total, size), rules) for each in buckets)
    return groups, max(group.used_bytes for group in groups), tuple(notes)


def _packed(layers: Sequence[Counted], rules: Rules) -> tuple[tuple[Group, ...], int, tuple[str, ...]]:
    """DeepSeek-V4's groups, pages of unlike sizes side by side in a block (0.33, _get_packed_kv_cache_groups).

    All caches of whole length are one group, whose block is the measure; windows and open entries are split into as
    many groups as keep them within it.
    """
    for each in layers:
        if each.cache.keep is not Keep.STATE:
            each.block_tokens = rules.compressed_tokens if each.cache.keep is Keep.FULL else rules.window_tokens
        each.page_bytes = each.cache.page_bytes(each.block_tokens)
    whole = [each for each in layers if each.cache.keep is Keep.FULL]
    measure = sum(each.total * each.page_bytes for each in whole)
    groups = [_group(whole, 1, rules)]
    groups += [
        _group([each], ceil_div(each.total, max(measure // each.page_bytes, 1)), rules)
        for each in layers
        if each.cache.keep is not Keep.FULL
    ]
    note = "open entries of compressed attention are counted as one page a sequence, and pages without their alignment"
    return tuple(groups), max(group.used_bytes for group in groups), (note,)


def _promoted(caches: Sequence[Counted], rules: Rules) -> list[Counted]:
    """Copies of the caches; windows and chunks keep every token where the version has no groups for them."""
    kinds = {each.cache.keep for each in caches}
    grown = Keep.FULL in kinds and (not rules.hybrid or (Keep.CHUNK in kinds and not rules.chunks))
    made: dict[Cache, Counted] = {}
    for each in caches:
        cache = each.cache
        if grown and cache.keep in (Keep.WINDOW, Keep.CHUNK):
            cache = replace(cache, keep=Keep.FULL, span=0, ranks=rules.token_ranks)
        known = made.setdefault(cache, Counted(cache, 0, 0))
        known.total += each.total
        known.held += each.held
    return list(made.values())


def _block_beside_state(layers: Sequence[Counted], rules: Rules) -> int:
    """Tokens of a block: as asked for, or more, so that an attention page is no smaller than a state's."""
    states = [each.cache.entry_bytes for each in layers if each.cache.keep is Keep.STATE]
    tokens = [each.cache for each in layers if each.cache.keep is not Keep.STATE]
    if not states or not tokens:
        return rules.block_tokens
    attention = next((cache for cache in tokens if cache.keep is Keep.FULL), tokens[0])
    align = max(rules.state_align, rules.block_tokens)
    return max(rules.block_tokens, align * ceil_div(max(states), align * attention.entry_bytes))


def _unify(layers: Sequence[Counted], notes: list[str]) -> None:
    """Make all pages equal: more tokens a block where the largest page is a multiple, else padding."""
    largest = max(each.page_bytes for each in layers)
    for each in layers:
        if each.page_bytes == largest:
            continue
        if each.cache.keep is not Keep.STATE:
            if largest % each.page_bytes == 0:
                each.block_tokens *= largest // each.page_bytes
            else:
                notes.append(f"pages of {each.page_bytes} bytes padded to {largest}")
        each.page_bytes = largest


def _buckets(layers: Sequence[Counted]) -> list[Counted]:
    """Layers that may share a group; states of any size do once padded."""
    made: dict[tuple[object, ...], Counted] = {}
    for each in layers:
        key: tuple[object, ...] = (each.cache, each.block_tokens)
        if each.cache.keep is Keep.STATE:
            key = (Keep.STATE,)
        known = made.setdefault(key, replace(each, total=0, held=0))
        known.total += each.total
        known.held += each.held
    return list(made.values())


def _group(layers: Sequence[Counted], copies: int, rules: Rules) -> Group:
    """`copies` groups of these layers: layers are dealt to them in turn, so a stage has ceil(held / copies) at most."""
    first = layers[0]
    return Group(
        keep=first.cache.keep,
        layers=sum(ceil_div(each.held, copies) for each in layers),
        copies=copies,
        block_tokens=first.block_tokens,
        used_bytes=sum(ceil_div(each.held, copies) * each.page_bytes for each in layers),
        span=first.cache.span,
        ranks=first.cache.ranks,
        state_blocks=rules.state_blocks,
    )
