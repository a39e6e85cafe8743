"""One sequence alone, as llama-bench times it: a prompt read in micro-batches, and tokens generated at a depth.

llama-bench (tools/llama-bench of llama.cpp): `pp` decodes n_prompt tokens in batches of n_batch, each worked through in
micro-batches of n_ubatch, after `-d` tokens that are cached already; `tg` generates one token after another from that
depth on. Neither samples, and of a prompt only the last token's logits are made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inferwise.serving.steady import POINTS, Load, decode_seconds
from inferwise.timing.forward import Forward, stage_seconds
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.operators.gemm import Gemm
from inferwise.timing.step import Quantity, Step

UBATCH = 512.0  # n_ubatch's default (common/common.h, include/llama.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    """prompt_s: of reading the prompt; decode_s: of a token, averaged over the answer. Rates where there is any such
    token, else 0."""

    prompt_s: Quantity
    decode_s: Quantity
    prompt_tok_s: Quantity
    decode_tok_s: Quantity


def single_stream(forward: Forward, load: Load, ubatch: Quantity | None = None) -> SingleStream:
    """Rates of one sequence. load: `input` tokens of which `prefix` are cached before the prompt is timed, `output`
    generated after all of them; its concurrency counts as 1. ubatch: tokens of a micro-batch; None: the case's."""
    size = case_ubatch(forward) if ubatch is None else ubatch
    fresh = load.input - load.prefix
    read = prompt_seconds(forward, fresh, load.prefix, size)
    token = decode_seconds(forward, 1.0, load)
    some = np.greater(load.output, 0)
    return SingleStream(
        prompt_s=read,
        decode_s=np.where(some, token, 0.0),
        prompt_tok_s=np.where(np.greater(fresh, 0), fresh / np.where(np.greater(read, 0), read, 1.0), 0.0),
        decode_tok_s=np.where(some, 1.0 / token, 0.0),
    )


def case_ubatch(forward: Forward) -> float:
    """Tokens of a micro-batch: as the user set it, else the engine's default."""
    case = forward.case
    return float(case.settings.ubatch or case.engine.defaults.get("ubatch") or UBATCH)


def prompt_seconds(forward: Forward, tokens: Quantity, past: Quantity, ubatch: Quantity) -> Quantity:
    """Seconds to read `tokens` of one sequence after `past` cached ones: whole micro-batches, then the rest.

    The whole ones are taken at two points of their span, which is exact where a step is a cubic of what is cached.
    Several devices work on micro-batches in turn: the slowest on all of them, the others on one more.
    """
    whole = np.floor(np.asarray(tokens, dtype=float) / ubatch)
    rest = tokens - whole * ubatch
    chunks = whole + np.greater(rest, 0)
    span = np.maximum(whole - 1.0, 0.0) * ubatch
    stages = []
    for stage in range(len(forward.stages)):
        full = sum(_read(forward, stage, ubatch + 0.0 * rest, past + point * span) for point in POINTS) / len(POINTS)
        last = _read(forward, stage, rest, past + whole * ubatch)
        stages.append(whole * full + last)
    if len(stages) == 1:
        return stages[0]
    slowest: Quantity = np.maximum.reduce(stages)
    together: Quantity = slowest + (sum(stages) - slowest) / np.maximum(chunks, 1.0)
    return together


def _read(forward: Forward, stage: int, tokens: Quantity, past: Quantity) -> Quantity:
    """Seconds of one micro-batch on a stage, 0 where it has no token."""
    some = np.greater(tokens, 0)
    step = Step(prompts=1.0, prompt_tokens=np.maximum(tokens, 1.0), past=past)
    return np.where(some, stage_seconds(forward, step, stage), 0.0)


def resized(forward: Forward, experts: float, rest: float) -> Forward:
    """With its experts' weights, and all others, at such shares of their bytes: a GGUF file of a known size."""
    return replace(forward, stages=tuple(tuple(_scaled(e, experts, rest) for e in stage) for stage in forward.stages))


def _scaled(operator: Operator, experts: float, rest: float) -> Operator:
    if isinstance(operator, Gemm):
        return replace(operator, weight_bytes=operator.weight_bytes * rest)
    if isinstance(operator, RoutedExperts):
        return replace(operator, expert_bytes=operator.expert_bytes * experts)
    return operator
