"""Closed forms of a deployment under load: one stream, a batch, so many requests in flight.

All take scalars or arrays of loads (input, output, concurrency of one replica) and give arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from inferwise.memory.dealing import ONE_PROCESS
from inferwise.timing.forward import Forward, part_seconds, stage_seconds
from inferwise.timing.step import Array, Quantity, Step

# Two points of Gauss and Legendre on [0, 1]: exact for what is a cubic in the context between the prompt and its end.
POINTS = (0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3))
GROUPED = ("projections", "attention", "recurrent")  # parts whose sequences are dealt over the groups of attention
ROUNDS = 12  # of the fixed point between the running batch and its speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests on one replica: prompt and answer tokens, requests at once, prompt tokens that are cached already,
    tokens that a step yields (speculation), patches of all images of a request and of one of them; equal: whether all
    have just these lengths."""

    input: Quantity
    output: Quantity
    concurrency: Quantity
    prefix: Quantity = 0.0
    acceptance: Quantity = 1.0
    queries: Quantity = 1.0
    patches: Quantity = 0.0
    image_patches: Quantity = 0.0
    equal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Seconds and rates of one replica. ttft_s, tpot_s, latency_s: of a request; prefill_s: of reading one prompt
    alone; decode_s: of a step of decodes alone; running: sequences that decode at once, on average."""

    ttft_s: Quantity
    tpot_s: Quantity
    latency_s: Quantity
    request_per_s: Quantity
    prefill_s: Quantity
    decode_s: Quantity
    running: Quantity


def decode_seconds(forward: Forward, batch: Quantity, load: Load) -> Quantity:
    """Seconds between the tokens of `batch` sequences that decode with no prompt beside them, over their answers.

    With pipeline stages the batch is dealt into as many micro-batches, and each stage works on one of them; one process
    that sees all devices (llama.cpp) sends it through whole.
    """
    stages = len(forward.stages)
    dealt = 1 if forward.case.engine.name in ONE_PROCESS else stages
    points = np.reshape(POINTS, (len(POINTS),) + (1,) * np.broadcast(batch, load.input, load.output).ndim)
    context = load.input + points * load.output
    step = Step(decodes=batch / dealt + 0 * context, context=context, queries=load.queries)
    each = [stage_seconds(forward, step, stage) for stage in range(stages)]
    total = sum(each)
    if stages > 1:  # a lone sequence has no other micro-batch to overlap with
        total = np.maximum(total, reduce(np.maximum, each) * np.minimum(batch, float(dealt)))
    total = np.sum(total, axis=0) / len(POINTS)
    return total / load.acceptance


def prefill_seconds(
    forward: Forward, prompts: Quantity, load: Load, budget: float, decodes: Quantity = 0.0
) -> Quantity:
    """Seconds to read `prompts` prompts at once, in chunks of at most `budget` tokens, beside `decodes` sequences.

    Chunks are counted as a real number: the whole is `chunks` times a chunk at half of the prompt.
    """
    step, chunks = chunk(prompts, load, budget, decodes)
    stages = [stage_seconds(forward, step, stage) for stage in range(len(forward.stages))]
    if len(stages) == 1:
        return chunks * stages[0]
    return sum(stages) + (chunks - 1) * reduce(np.maximum, stages)


def chunk(prompts: Quantity, load: Load, budget: float, decodes: Quantity) -> tuple[Step, Quantity]:
    """A step at half of the prompts, and how many such steps they take."""
    fresh = load.input - load.prefix
    tokens = prompts * fresh
    chunks = np.maximum(1.0, tokens / np.maximum(1.0, budget - decodes))
    parallel = np.maximum(1.0, prompts / chunks)  # prompts that share a chunk
    size = tokens / chunks / parallel  # new tokens of each of them in it
    step = Step(
        decodes=decodes,
        context=load.input + load.output / 2,
        queries=load.queries,
        prompts=parallel,
        prompt_tokens=size,
        past=load.prefix + (fresh - size) / 2,
        images=load.patches * prompts / chunks,
        image_patches=load.image_patches,
    )
    return step, chunks


def lone_seconds(forward: Forward, load: Load, budget: float) -> Quantity:
    """Seconds to read one prompt on an idle deployment. It lies whole on one group of attention data parallelism, where
    the operators' mean over the groups holds only a part of it: those of GROUPED take as long as with one in each."""
    read = prefill_seconds(forward, 1.0, load, budget)
    groups = float(forward.case.parallel.dp)
    if groups == 1:
        return read
    fresh = load.input - load.prefix
    chunks = np.maximum(1.0, fresh / budget)
    size = fresh / chunks
    for stage in range(len(forward.stages)):
        one, each = (
            part_seconds(forward, Step(prompts=count, prompt_tokens=size, past=load.prefix + (fresh - size) / 2), stage)
            for count in (1.0, groups)
        )
        read = read + chunks * sum(each[part] - one[part] for part in GROUPED if part in one)
    return read


def closed_loop(forward: Forward, load: Load, budget: float, limit: Quantity = np.inf) -> Rates:
    """So many requests in flight, each finished one replaced at once; at most `limit` of them run, the rest queue.

    A step of the running batch b takes d(b); each request's prompt takes P of the engine's time beside it, which the
    others wait for. In a steady state TPOT = d(b) + share * (b - 1) * P / (output - 1), and by Little's law the b that
    decode are to those in flight as a request's decoding is to its stay. A prompt waits for half a step, and for a part
    of the others' prompts (they come in a burst at first, and together again where their lengths are alike). d and P
    are taken at two batches, and between them as a line.
    """
    alone = lone_seconds(forward, load, budget)
    gaps = np.maximum(load.output - 1.0, 1.0)
    most = np.minimum(load.concurrency, limit)
    low = np.maximum(most / 2, 1.0)
    both = np.stack(np.broadcast_arrays(low, most))
    ends = list(zip(*_beside(forward, both, load, budget), strict=True))  # (decode, cost) of each
    batch, tpot, ttft, decode = most, alone, alone, alone
    made = forward.profile
    waited, queued = (made.share_equal, made.queue_equal) if load.equal else (made.share, made.queue)
    for _ in range(ROUNDS):
        weight = np.where(most > low, (batch - low) / np.maximum(most - low, 1e-9), 0.0)
        decode, cost = ((1 - weight) * first + weight * second for first, second in zip(*ends, strict=True))
        decode = np.maximum(decode, 0.5 * ends[0][0])
        others = np.maximum(batch - 1.0, 0.0)
        tpot = decode + waited * others * np.maximum(cost, 0.0) / gaps
        read = alone + 0.5 * tpot * (others > 0)
        ttft = made.request_s + read + queued * others * np.maximum(cost, 0.0)
        share = gaps * tpot / (read + gaps * tpot)
        batch = 0.5 * batch + 0.5 * np.clip(most * share, np.minimum(1.0, most), most)
    inside = ttft + gaps * tpot
    waiting = inside * np.maximum(load.concurrency / most - 1.0, 0.0)
    latency = inside + waiting
    return Rates(
        ttft_s=ttft + waiting,
        tpot_s=tpot,
        latency_s=latency,
        request_per_s=load.concurrency / latency,
        prefill_s=alone,
        decode_s=decode,
        running=batch,
    )


def _beside(forward: Forward, batch: Quantity, load: Load, budget: float) -> tuple[Any, Any]:
    """Seconds between tokens of a batch, and what one more prompt adds beside it."""
    decode = decode_seconds(forward, batch, load)
    others, stages = np.maximum(batch - 1.0, 0.0), range(len(forward.stages))
    if len(stages) == 1 or forward.case.engine.name in ONE_PROCESS:
        step, chunks = chunk(1.0, load, budget, others)
        return decode, prefill_seconds(forward, 1.0, load, budget, others) - chunks * decode * load.acceptance
    # a prompt keeps each stage busy once, beside one of the micro-batches: the slowest sets the pace
    step, chunks = chunk(1.0, load, budget, others / len(stages))
    alone = replace(step, prompts=0.0)
    mixed = reduce(np.maximum, [stage_seconds(forward, step, stage) for stage in stages])
    return decode, chunks * (mixed - reduce(np.maximum, [stage_seconds(forward, alone, stage) for stage in stages]))


def static_batch(forward: Forward, load: Load, budget: float) -> Rates:
    """So many requests at once: all prompts are read, then all answers are written to their end together."""
    read = prefill_seconds(forward, load.concurrency, load, budget)
    decode = decode_seconds(forward, load.concurrency, load)
    latency = read + np.maximum(load.output - 1.0, 0.0) * decode
    return Rates(
        ttft_s=read,
        tpot_s=decode,
        latency_s=latency,
        request_per_s=load.concurrency / latency,
        prefill_s=read,
        decode_s=decode,
        running=load.concurrency,
    )


def steady_batch(forward: Forward, load: Load, budget: float) -> Rates:
    """A running batch of just so many sequences, each finished one replaced at once: its prompt is read beside them."""
    gaps = np.maximum(load.output - 1.0, 1.0)
    decode, cost = _beside(forward, load.concurrency, load, budget)
    others = np.maximum(load.concurrency - 1.0, 0.0)
    tpot = decode + forward.profile.share * others * np.maximum(cost, 0.0) / gaps
    alone = lone_seconds(forward, load, budget)
    first = forward.profile.request_s + alone + 0.5 * tpot * (others > 0)
    return Rates(
        ttft_s=first,
        tpot_s=tpot,
        latency_s=first + gaps * tpot,
        request_per_s=load.concurrency / (gaps * tpot),
        prefill_s=alone,
        decode_s=decode,
        running=load.concurrency,
    )


__all__ = ["Array", "Load", "Rates", "closed_loop", "decode_seconds", "prefill_seconds", "static_batch", "steady_batch"]
