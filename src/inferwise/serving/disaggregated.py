"""Prompts are read by some workers and answers written by others: closed form of a closed loop over both.

Takes scalars or arrays of loads, as steady.py does.
"""

from __future__ import annotations

import numpy as np

from inferwise.serving.steady import ROUNDS, Load, Rates, decode_seconds, lone_seconds, prefill_seconds
from inferwise.timing.forward import Forward
from inferwise.timing.step import Quantity


def disaggregated(
    prefill: Forward,
    decode: Forward,
    load: Load,
    workers: tuple[int, int],
    budget: float,
    limit: Quantity = np.inf,
    transfer_s: Quantity = 0.0,
) -> Rates:
    """So many requests in flight over `workers` prefill and decode workers, each finished one replaced at once.

    load.concurrency: over all workers. budget: most prompt tokens of a step of a prefill worker. limit: sequences that
    one decode worker runs at once; the others wait for a seat there before their first token. transfer_s: of a prompt's
    state between the two. Rates are of the whole deployment; `running` is of one decode worker, which has no prompts
    beside its batch: by Little's law, that is to its requests in flight as decoding is to a request's stay.
    """
    readers, writers = (float(max(each, 1)) for each in workers)
    requests = load.concurrency / readers
    alone = lone_seconds(prefill, load, budget)
    service = _service(prefill, load, budget, alone, requests)
    gaps = np.maximum(load.output - 1.0, 1.0)
    handled = prefill.profile.request_s + transfer_s
    share = load.concurrency / writers
    seats = np.minimum(share, limit)
    least = np.minimum(seats, 1.0)
    batch, decode_s = seats, decode_seconds(decode, seats, load)
    waited: Quantity = 0.0
    queued: Quantity = 0.0
    for _ in range(ROUNDS):
        writing = gaps * decode_s
        waited = queue_seconds(service, handled + alone - service + writing + queued, requests)
        stay = handled + alone + waited + writing
        # Where all seats are taken they set the rate, and a request's round is as long as the others need them for.
        queued = np.maximum(share / seats * writing - stay, 0.0) * (share > seats)
        batch = 0.5 * batch + 0.5 * np.clip(share * writing / (stay + queued), least, seats)
        decode_s = decode_seconds(decode, batch, load)
    # All come at once at first. Their answers end as far apart as their prompts were read, so that the burst does not
    # return even where lengths are equal: `queue`, never `queue_equal`.
    burst = prefill.profile.queue * service * np.maximum(requests - 1.0, 0.0)
    ttft = handled + alone + np.maximum(waited, burst) + queued
    latency = ttft + gaps * decode_s
    return Rates(
        ttft_s=ttft,
        tpot_s=decode_s,
        latency_s=latency,
        request_per_s=load.concurrency / latency,
        prefill_s=alone,
        decode_s=decode_s,
        running=batch,
    )


def queue_seconds(service_s: Quantity, away_s: Quantity, requests: Quantity) -> Quantity:
    """Seconds that a request waits for a server on which `requests` go round, `away_s` long each without the server.

    The loop's own balance with M/D/1's wait where few are in flight: W^2 + (away - s (n - 2)) W = s^2 (n - 1) / 2 for
    n requests of s seconds. W is 0 for one request, s rho / 2 for a server at rest (rho = n s / away), and n s - away
    where it is the slower side. After Schweitzer's mean value analysis (1979), halved for a constant service.
    """
    others = np.maximum(requests - 1.0, 0.0)
    slope = away_s - service_s * (others - 1.0)
    root = np.sqrt(slope**2 + 2.0 * service_s**2 * others)
    return np.where(slope > 0, service_s**2 * others / np.maximum(slope + root, 1e-12), 0.5 * (root - slope))


def _service(forward: Forward, load: Load, budget: float, alone: Quantity, requests: Quantity) -> Quantity:
    """Seconds of a prefill worker's time for a prompt where several wait: those that a step holds are read together, a
    prompt of each attention group at least."""
    fresh = np.maximum(load.input - load.prefix, 1.0)
    together = np.maximum(budget / fresh, float(forward.case.parallel.dp))
    together = np.clip(requests, 1.0, together)
    read = prefill_seconds(forward, together, load, np.maximum(budget, together * fresh))
    return np.minimum(read / together, alone)
