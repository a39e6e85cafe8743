"""Which layer lies on which device: -ngl, --split-mode, --tensor-split, --n-cpu-moe and -ot (src/llama-model.cpp)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from inferwise.errors import BadInput
from inferwise.memory.llama_cpp.layers import Layers, Piece, place
from inferwise.spec.automaton import Automaton
from inferwise.spec.name_patterns import ANY, Repeat, expression
from inferwise.spec.name_patterns import Sequence as Parts

HOST = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Layers in runs: the first of them on the host, then each device's.

    host: layers on the host. runs: (start, stop) of each device's. output: the device of what stands behind the layers
    (HOST: none). host_experts: the first so many layers' routed experts stay on the host. shares: of a tensor split
    (empty: whole layers; all of them are then in the first run).
    """

    host: int
    runs: tuple[tuple[int, int], ...]
    output: int
    host_experts: int
    shares: tuple[float, ...] = ()

    def gpu_layers(self, count: int) -> int:
        """As -ngl counts them: the output included."""
        return count - self.host + (self.output != HOST)

    def device_of(self, layer: int) -> int:
        """The device of a layer."""
        return next((index for index, (start, stop) in enumerate(self.runs) if start <= layer < stop), HOST)


def split_points(free: Sequence[float]) -> list[float]:
    """Where each device's share ends, from 0 to 1."""
    total = sum(free) or 1.0
    return [end / total for end in accumulate(free)]


def placed(
    count: int,
    gpu_layers: int,
    shares: Sequence[float],
    cpu_moe: int,
    *,
    split: str = "layer",
    output_first: bool = True,
) -> Placement:
    """The placement of `count` layers and the output: the last `gpu_layers` of them over devices in these shares.

    A layer goes to the device in whose share its place among the offloaded ones falls. output_first: whether the
    output is the first that goes to a device, or follows the layers (builds before pull request 18148).
    """
    end = count + 1 if output_first or gpu_layers > count else count
    offloaded = min(gpu_layers, end) if shares else 0
    first, devices = end - offloaded, len(shares)
    if not offloaded:
        return Placement(host=count, runs=((count, count),) * devices, output=HOST, host_experts=min(cpu_moe, count))
    stops, parts = [end] * devices, tuple[float, ...]()
    if split == "layer" and devices > 1:
        points = [*split_points(shares)[:-1], 2.0]  # the last device takes what rounding leaves
        where = [bisect_right(points, index / offloaded) for index in range(offloaded)]
        stops = [first + bisect_right(where, device) for device in range(devices)]
    elif split == "tensor" and devices > 1:
        ends = split_points(shares)
        parts = tuple(end - start for start, end in zip([0.0, *ends], ends, strict=False))
    starts = [first, *stops[:-1]]
    return Placement(
        host=min(first, count),
        runs=tuple((min(start, count), min(stop, count)) for start, stop in zip(starts, stops, strict=True)),
        output=next((index for index, stop in enumerate(stops) if stop == count + 1), HOST),
        host_experts=min(cpu_moe, count),
        shares=parts,
    )


@dataclass(frozen=True, slots=True)
class PlacedWeights:
    """Bytes of weights on each device and on the host. streamed: most of a layer's that pass through a device."""

    devices: tuple[int, ...]
    host: int
    streamed: int


def place_weights(layers: Layers, where: Placement, overrides: tuple[tuple[str, str], ...]) -> PlacedWeights:
    """What each device holds. A tied embedding lies on the host and, as the head, on the output's device."""
    dense, experts = layers.dense_until, layers.experts_until
    kept = where.host_experts
    held = [
        dense[stop] - dense[start] + experts[max(stop, kept)] - experts[max(start, kept)] for start, stop in where.runs
    ]
    host = layers.input + layers.total_layers - sum(held)
    if where.output == HOST:
        host += layers.output
    else:
        held[where.output] += layers.output + layers.tied
    streamed = max(layers.experts[where.host : kept], default=0)
    for piece, target in moved(layers, overrides) if overrides else ():
        now = _now(piece, where, len(layers.pattern))
        if now == target or now is None or target >= len(held):
            continue
        for device, sign in ((now, -1), (target, 1)):
            if device == HOST:
                host += sign * piece.size_bytes
            else:
                held[device] += sign * piece.size_bytes
        streamed = max(streamed, piece.size_bytes if target == HOST else 0)
    if where.shares:
        total = sum(held)
        held = [int(total * share) for share in where.shares]
        held[0] += total - sum(held)
    return PlacedWeights(tuple(held), host, streamed)


def _now(piece: Piece, where: Placement, count: int) -> int | None:
    """Where a piece lies before patterns move it; None: nowhere that they reach."""
    kind = place(piece, count)
    if kind == "input":
        return HOST
    if kind == "output":
        return where.output
    if piece.layer is None or piece.layer >= count:
        return None
    held = kind == "experts" and piece.layer < where.host_experts
    return HOST if held else where.device_of(piece.layer)


@lru_cache(maxsize=32)
def moved(layers: Layers, overrides: tuple[tuple[str, str], ...]) -> tuple[tuple[Piece, int], ...]:
    """The pieces that patterns of -ot match, each with its device; the first that matches counts."""
    machines = [
        (Automaton([Parts((Repeat(ANY, 0, None), expression(pattern)))]), device_number(device))
        for pattern, device in overrides
    ]
    found = []
    for piece in layers.pieces:
        name = piece.name if piece.layer is None else f"blk.{piece.layer}.{piece.name}"
        name = name if name.endswith(".bias") else f"{name}.weight"
        target = next((device for machine, device in machines if machine.matches(name)), None)
        if target is not None:
            found.append((piece, target))
    return tuple(found)


def device_number(name: str) -> int:
    """`CPU` is the host, `CUDA0`, `Vulkan1`, `Metal` a device by its number. Raises BadInput."""
    if name.upper() in ("CPU", "HOST"):
        return HOST
    letters = name.rstrip("0123456789")
    if not letters.isalpha() or len(name) - len(letters) > 3:
        raise BadInput(f"-ot's device {name[:40]!r} is none", remedy="give CPU, or a device such as CUDA0")
    return int(name[len(letters) :] or 0)
