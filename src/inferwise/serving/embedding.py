"""Closed form of a model that gives embeddings: prompts alone, no tokens."""

from __future__ import annotations

import numpy as np

from inferwise.serving.steady import Load, Rates, prefill_seconds
from inferwise.timing.decompose.stage import generates
from inferwise.timing.forward import Forward
from inferwise.timing.step import Quantity


def embedding(forward: Forward, load: Load, budget: float, limit: Quantity = np.inf) -> Rates:
    """So many texts in flight, read whole and together as far as a step's `budget` of tokens and `limit` texts go.

    A text waits for those ahead of it in the queue and leaves with its step; TTFT is the latency of its embedding, and
    there is no time between tokens (0). Pooling the last hidden states is nothing beside the layers.
    """
    room = np.maximum(np.floor(budget / np.maximum(load.input, 1.0)), 1.0)
    together = np.maximum(np.minimum(np.minimum(load.concurrency, room), limit), 1.0)
    whole = np.inf if not generates(forward.case.model) else budget  # a generative model's prompts come in chunks
    step = prefill_seconds(forward, together, load, whole)
    latency = forward.profile.request_s * (whole < np.inf) + step * np.maximum(load.concurrency / together, 1.0)
    return Rates(
        ttft_s=latency,
        tpot_s=0.0 * latency,
        latency_s=latency,
        request_per_s=load.concurrency / latency,
        prefill_s=prefill_seconds(forward, 1.0 + 0.0 * together, load, whole),
        decode_s=0.0 * latency,
        running=together,
    )
