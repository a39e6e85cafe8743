"""SGLang's pools on one device: tokens of the full and the window pool, slots of recurrent state, what they hold."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.memory.allocation import Term
from inferwise.memory.case import Case
from inferwise.memory.engines.sglang_flags import Flags, running_most
from inferwise.memory.parts.cells import Cells
from inferwise.spec.model import MAX_TOKENS
from inferwise.units import ceil_div


@dataclass(frozen=True, slots=True)
class Held:
    """A device of a stage, whatever its make: what is loaded before the pool is sized, what comes after, the cells.

    draft: the cells of draft layers, which share the pool's tokens. offloaded_bytes: weights left on the host.
    """

    before: tuple[Term, ...]
    after: tuple[Term, ...]
    cells: Cells
    draft: Cells
    offloaded_bytes: int

    @property
    def loaded_bytes(self) -> int:
        """What is loaded before the pool is sized."""
        return sum(term.size_bytes for term in self.before)


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools that every rank makes: tokens of the full and of the window pool, slots of recurrent state, requests
    that run at once, and the states that these keep for each drafted token [bytes]."""

    tokens: int
    window_tokens: int
    slots: int
    running: int
    drafted_bytes: int = 0


def pools_of(case: Case, flags: Flags, held: Held, budget: int) -> Pools:
    """The pools of a stage's device out of so many bytes (pool_configurator.py)."""
    data, cells = case.engine.defaults, held.cells
    length = case.model.max_context or case.context
    slots = drafted = 0
    if cells.sequence and budget > 0:
        ratio, each = data["mamba_full_memory_ratio"], data["mamba_slots_per_request"]
        tokens_drafted = case.speculative_tokens if case.mtp or case.draft else 0
        share = budget * ratio / (1 + ratio) if cells.full or cells.windows else budget
        # (slots + 1) states, and for each running request (and a spare one) as many as tokens are drafted
        room = share - cells.sequence * (1 + tokens_drafted)
        slots = max(int(room // (cells.sequence * (1 + tokens_drafted / each))), 0)
        drafted = cells.sequence * (slots // each + 1) * tokens_drafted
        budget -= (slots + 1) * cells.sequence + drafted
    cell = cells.full_token + swa_ratio(case, cells) * cells.window_token
    if data["draft_in_cell"]:
        cell += held.draft.full_token + held.draft.window_token
    if not cell:  # nothing grows with the tokens
        tokens = length * max(slots, 1) if budget >= 0 else 0
    else:
        tokens = max(int(budget // cell), 0) // flags.page * flags.page
    window_tokens = 0
    if cells.windows:
        window_tokens = int(tokens * swa_ratio(case, cells)) // flags.page * flags.page
    running = running_most(case, flags, tokens, length)
    if cells.sequence:
        running = min(running, slots // data["mamba_slots_per_request"])
    return Pools(tokens, window_tokens, slots, running, drafted)


def swa_ratio(case: Case, cells: Cells) -> float:
    """Tokens of the window pool to those that the engine reports."""
    return float(case.engine.defaults["swa_full_tokens_ratio"]) if cells.full else 1.0


def kv_bytes(held: Held, pools: Pools) -> tuple[int, int]:
    """Bytes of the full and of the window pool of a device."""
    full = held.cells.full_bytes(pools.tokens)
    windows = sum(size for _, size in held.cells.windows) * ceil_div(pools.window_tokens, held.cells.cp)
    return full, windows


def sequences_in(case: Case, flags: Flags, held: Held, pools: Pools, context: int) -> int:
    """Sequences of `context` tokens that one replica of attention holds."""
    cells, page = held.cells, flags.page
    whole = ceil_div(context, page) * page
    limits = []
    if cells.full or not cells.sequence:
        limits.append(pools.tokens // whole)
    if cells.windows:
        limits.append(pools.window_tokens // min(whole, cells.widest_window + page))
    if cells.sequence:
        limits.append(pools.slots // case.engine.defaults["mamba_slots_per_request"])
    return max(min(limits), 0)


def longest_in(case: Case, flags: Flags, held: Held, pools: Pools, rows: int) -> int | None:
    """The longest context of which `rows` sequences fit; None where the pool does not limit it."""
    cells, page = held.cells, flags.page
    if cells.sequence and pools.slots // case.engine.defaults["mamba_slots_per_request"] < rows:
        return 0
    longest = MAX_TOKENS
    if cells.windows and pools.window_tokens // rows < cells.widest_window + page:
        longest = pools.window_tokens // rows // page * page
    if cells.full or (not cells.sequence and not cells.windows):
        longest = min(longest, pools.tokens // page // rows * page)
    return None if longest == MAX_TOKENS else longest
