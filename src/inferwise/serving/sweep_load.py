"""The same deployment at every load: latency against throughput."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from inferwise.serving.estimate import load_of, rates_of
from inferwise.spec.workload import CLOSED, OFFLINE, SINGLE

if TYPE_CHECKING:
    from inferwise.serving.estimate import Estimate

MOST = 4096  # sequences of one replica: the end of a curve that memory does not end
POINTS = 12  # of a curve, besides the load that was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A load of the whole deployment. concurrency: of all replicas. tok_s_per_user: 1 / TPOT, None where nothing is
    generated. asked: whether it is the load that the estimate is of."""

    concurrency: int
    ttft_s: float
    tpot_s: float | None
    latency_s: float
    output_tok_s: float
    total_tok_s: float
    tok_s_per_device: float
    tok_s_per_user: float | None
    asked: bool


def sweep(made: Estimate) -> tuple[Point, ...]:
    """Points from one sequence a replica to the most that its memory holds, in the estimate's protocol.

    A single stream is swept as so many requests in flight. Empty where nothing fits. tok_s_per_device counts output
    tokens, or all where nothing is generated.
    """
    if not made.fits:
        return ()
    asked = -(-made.workload.concurrency // made.replicas)
    each = batches(int(min(made.limit, MOST)), asked)
    work = made.workload
    if work.protocol in (SINGLE, OFFLINE):
        work = replace(work, protocol=CLOSED)
    array = np.array(each, dtype=np.float64)
    rates = rates_of(made.forward, load_of(made.forward.case, work, array), work, made.limit)
    columns = {
        name: np.broadcast_to(np.asarray(getattr(rates, name), dtype=np.float64), array.shape)
        for name in ("ttft_s", "tpot_s", "latency_s", "request_per_s")
    }
    return tuple(
        _point(made, batch, {name: float(values[index]) for name, values in columns.items()}, batch == asked)
        for index, batch in enumerate(each)
    )


def batches(limit: int, asked: int) -> list[int]:
    """Sequences of one replica: 1, 2, 4, ... to the limit (in wider steps where there are many), and what was asked."""
    steps = max(1, math.ceil(math.log2(limit))) if limit > 1 else 0
    stride = max(1, math.ceil(steps / POINTS))
    found = {2**power for power in range(0, steps, stride)} | {1, limit}
    return sorted(found | ({asked} if asked <= limit else set()))


def _point(made: Estimate, each: int, rates: dict[str, float], asked: bool) -> Point:
    work, devices = made.workload, made.replicas * len(made.forward.case.devices)
    request_per_s = rates["request_per_s"] * made.replicas
    output_tok_s, total_tok_s = request_per_s * work.output, request_per_s * (work.prompt + work.output)
    tpot = rates["tpot_s"] if work.output > 1 else None
    return Point(
        concurrency=each * made.replicas,
        ttft_s=rates["ttft_s"],
        tpot_s=tpot,
        latency_s=rates["latency_s"],
        output_tok_s=output_tok_s,
        total_tok_s=total_tok_s,
        tok_s_per_device=(output_tok_s if work.output else total_tok_s) / devices,
        tok_s_per_user=1 / tpot if tpot else None,
        asked=asked,
    )


def as_dicts(points: tuple[Point, ...]) -> list[dict[str, Any]]:
    """The points as JSON has them."""
    return [{name: getattr(point, name) for name in Point.__dataclass_fields__} for point in points]
