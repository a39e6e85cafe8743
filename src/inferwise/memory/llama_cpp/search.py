"""What else would fit: layers for --fit, the longest context, the most slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from inferwise.memory.llama_cpp.buffers import Buffers, Load, buffers
from inferwise.memory.llama_cpp.placement import Placement, placed

MULTIPLE = 256  # tokens: cells come in such


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that each device and the host have for llama.cpp's buffers; None: the host's memory is not known.

    shared: of devices that share it with the host, what they and it may take together.
    """

    devices: tuple[int, ...]
    host: int | None
    shared: int | None = None

    def less(self, margin: int) -> Room:
        """With so much of each device left free."""
        return replace(self, devices=tuple(size - margin for size in self.devices))

    def spare(self, made: Buffers) -> int:
        """The least that any of them has left; negative: what is missing."""
        left = [room - made.device_total(index) for index, room in enumerate(self.devices)]
        if self.host is not None:
            left.append(self.host - sum(made.host.values()))
        if self.shared is not None:
            devices = sum(made.device_total(index) for index in range(len(self.devices)))
            left.append(self.shared - devices - sum(made.host.values()))
        return min(left, default=0)


@lru_cache(maxsize=64)
def fitted(load: Load, room: Room) -> Placement:
    """The placement that --fit comes to: all experts on the host first, then fewer layers (common/fit.cpp).

    With experts, the first layers' stay on the host, as few as fit; if that is not enough, fewer layers are offloaded.
    """
    layers, flags = load.layers, load.flags
    count, load = len(layers.pattern), replace(load, rough=True)

    def at(gpu_layers: int, cpu_moe: int) -> Placement:
        return placed(
            count, gpu_layers, flags.shares, cpu_moe, split=flags.split, output_first=flags.build["output_first"]
        )

    def fits(where: Placement) -> bool:
        return replace(room, host=None, shared=None).spare(buffers(load, where)) >= 0

    experts = any(layers.experts) and flags.build["fit_experts"]
    whole = at(count + 1, flags.cpu_moe)
    if fits(whole):
        return whole
    if experts and fits(at(count + 1, count)):
        return at(count + 1, least(lambda cpu_moe: fits(at(count + 1, cpu_moe)), flags.cpu_moe, count))
    cpu_moe = count if experts else flags.cpu_moe
    missing = least(lambda held_back: fits(at(count + 1 - held_back, cpu_moe)), 0, count + 1)
    return at(count + 1 - missing, cpu_moe)


def least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number for which it holds, where it holds for `high` and for all above the least."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def most(spare: Callable[[int], int], start: int, left: int, high: int) -> int | None:
    """The largest number up to `high` with nothing missing; None where `high` has room too.

    spare: bytes left, falling and concave, so that a secant never points past the root by more than it has curved;
    left: at `start`.
    """
    if left < 0:
        low, low_left, top, top_left = 0, 0, start, left
    else:
        low, low_left, top, top_left = start, left, start, left
        while top_left >= 0:
            if top >= high:
                return None
            low, low_left = top, top_left
            step = top * 2 if top == start else max(top * 2, guess(low, low_left, start, left))
            top = min(high, step)
            top_left = spare(top)
    for step in range(200):
        if top - low <= 1:
            break
        middle = (low + top) // 2
        if low and step % 3 < 2:  # a secant may creep up on a root from one side: then halve
            slope = (low_left - top_left) / (top - low)
            middle = min(top - 1, max(low + 1, low + int(low_left / slope))) if slope > 0 else middle
        now = spare(middle)
        if now >= 0:
            low, low_left = middle, now
            if middle + 1 < top and (after := spare(middle + 1)) < 0:
                top, top_left = middle + 1, after
        else:
            top, top_left = middle, now
    return low


def guess(low: int, low_left: int, start: int, left: int) -> int:
    """Where a line through two points ends."""
    if low == start or low_left >= left:
        return low * 2
    return low + int(low_left * (low - start) / (left - low_left)) + 1


def max_context(load: Load, where: Placement, room: Room, high: int) -> int | None:
    """The longest context of the same slots, in whole multiples of cells. None: memory does not limit it."""

    def spare(units: int, *, rough: bool = True) -> int:
        return room.spare(buffers(replace(load, context=units * MULTIPLE, rough=rough), where))

    def exact(units: int) -> int:
        return spare(units, rough=False)

    start = max(1, load.context // MULTIPLE)
    found = most(spare, start, spare(start), high // MULTIPLE)
    if found and spare(found, rough=False) < 0:
        found = most(exact, found, spare(found, rough=False), high // MULTIPLE)
    return None if found is None else found * MULTIPLE


def max_slots(load: Load, where: Placement, room: Room, high: int) -> int:
    """The most slots of the same context."""

    def spare(slots: int, *, rough: bool = True) -> int:
        return room.spare(buffers(replace(load, slots=slots, rough=rough), where))

    def exact(slots: int) -> int:
        return spare(slots, rough=False)

    found = most(spare, load.slots, spare(load.slots), high)
    found = high if found is None else found
    if found and spare(found, rough=False) < 0:
        found = most(exact, found, spare(found, rough=False), high) or 0
    return found
