"""Collectives: messages between the devices that share a layer (tensor parallelism), its experts, or its stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inferwise.errors import BadInput

Array: TypeAlias = "NDArray[np.float64]"
Quantity: TypeAlias = "float | Array"

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "point_to_point")


def collective_bytes(kind: str, size_bytes: Quantity, ranks: Quantity, *, in_switch: bool = False) -> Array:
    """Bytes that each rank sends over its link, by the ring's count (which no algorithm without help beats).

    size_bytes: of the whole tensor as the operator sees it: what is reduced, the gathered result, what is scattered,
    all that a rank deals out, the message. in_switch: the least for an all-reduce where the switch adds and
    multicasts (NVLink SHARP): one size in, one out. Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002.

    >>> float(collective_bytes("all_reduce", 1024.0, 8))
    1792.0
    """
    if kind not in KINDS:
        raise BadInput(f"{kind!r} is no collective", remedy="one of: " + ", ".join(KINDS))
    size, count = np.asarray(size_bytes, dtype=float), np.maximum(ranks, 1.0)
    others = (count - 1) / count
    if kind == "point_to_point":
        return np.asarray(size * (count > 1))
    if kind == "all_reduce":
        return np.asarray(size * (np.minimum(2 * others, 1.0) if in_switch else 2 * others))
    return np.asarray(size * others)


def collective_seconds(
    size_bytes: Quantity,
    ranks: Quantity,
    *,
    kind: str,
    link_bytes_per_s: Quantity,
    c: Mapping[str, float],
) -> Array:
    """Seconds of one collective; zero for one rank. link_bytes_per_s: of one device, one direction.

    Under `limit_bytes` (an engine's own kernel, or a protocol for small messages) the cheaper of two algorithms:
    direct, every rank reading all others (traffic grows with the ranks over the ring's, `crowding` 1 on a switch), or
    scattered, which costs another synchronisation and moves the ring's bytes. From the limit on the library's ring,
    tree or in-switch algorithm. Latency and the share of the link are known at 2, 4, 8 (and latency at 16) ranks,
    between them by their logarithm. Never under the size over the link (in-switch reduction), monotone in the size.
    """
    size = np.asarray(size_bytes, dtype=float)
    pairs = np.maximum(ranks, 2.0) / 2
    doublings = np.log2(pairs)
    steps = np.minimum(doublings, 1.0), np.clip(doublings - 1, 0.0, 1.0), np.maximum(doublings - 2, 0.0)
    start = _between(steps, c["latency_2_s"], c["latency_4_s"], c["latency_8_s"], c["latency_16_s"])
    efficiency = _between(steps, c["efficiency_2"], c["efficiency_4"], c["efficiency_8"])
    limit = c["limit_bytes"] / pairs ** c["limit_growth"]
    per_byte = collective_bytes(kind, 1.0, ranks) / link_bytes_per_s
    small = np.minimum(size, limit) * per_byte
    direct = small * pairs ** c["crowding"] / c["direct_efficiency"]
    scattered = c["scatter_s"] + small / (c["scatter_ratio"] * efficiency)
    below = start + np.minimum(direct, scattered)
    p = c["p"]
    above = ((start * c["library_latency_ratio"]) ** p + (size * per_byte / efficiency) ** p) ** (1 / p)
    floor = size * collective_bytes(kind, 1.0, ranks, in_switch=True) / link_bytes_per_s
    seconds = np.maximum(np.maximum(below, floor), np.where(size < limit, 0.0, above))
    return np.asarray(np.where(np.asarray(ranks) > 1, seconds, 0.0))


def _between(steps: tuple[Array, ...], *values: Quantity) -> Quantity:
    """Values at doublings of the ranks, between them in proportion to the logarithm of the ranks."""
    found = values[0]
    for step, low, high in zip(steps, values, values[1:], strict=False):
        found = found * (high / low) ** step
    return found
