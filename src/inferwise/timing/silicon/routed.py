"""Experts: over tokens, of equal hidden size, width, experts and ranks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from inferwise.timing.kernels.experts import grouped_seconds
from inferwise.timing.operators.experts import RoutedExperts
from inferwise.timing.rates import memory_rate, peak
from inferwise.timing.silicon.entry import Entry
from inferwise.timing.silicon.grid import Array, Ratios
from inferwise.timing.silicon.wheel import Columns, folder, known, read
from inferwise.timing.step import Quantity, Step

SIZES = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
GATE, NO_GATE = 0.0, 10.0  # a coordinate of its own, beyond any reach of one another
# Engines choose a kernel by model: only another width or another number of ranks may stand in, hardly another model.
SCALES = np.array([4.0, 1.0, 4.0, 4.0, 1.0])


def ratios(where: Path, at: Entry) -> Ratios | None:
    """Of the kernel that the engine chose for each model, tokens dealt to the experts in turn."""
    form, found = known()["experts"].get(at.dtype), folder(where, at.device.slug, "moe", at.engine, at.version)
    if form is None or found is None:
        return None
    filters = [("moe_dtype", "==", form["name"]), ("distribution", "==", "balanced")]
    rows = read(found / "moe_perf.parquet", (*SIZES, "num_tokens", "kernel_source"), filters)
    if rows is None or not len(rows["seconds"]):
        return None
    apart = known()["experts_without_gate"]["set_apart"]
    kept = np.array([apart not in str(name) for name in rows["kernel_source"]])
    rows = {name: column[kept] for name, column in rows.items()}
    hidden, inter, top_k, count, tp, ep = (rows[name].astype(float) for name in SIZES)
    logs = np.log2(np.stack([hidden, inter / tp, top_k, count, ep], axis=1)) * SCALES
    return Ratios(
        fixed=np.concatenate([logs, np.where(gated(rows), GATE, NO_GATE)[:, None]], axis=1),
        varying=np.log2(rows["num_tokens"].astype(float)[:, None]),
        values=np.log(rows["seconds"] / benched(at, rows)),
    )


def gated(rows: Columns) -> Any:
    """Whether the experts of a row's model have a gate."""
    plain = {tuple(model) for model in known()["experts_without_gate"]["models"]}
    shapes = zip(*(rows[name].tolist() for name in SIZES[:4]), strict=True)
    return np.array([shape not in plain for shape in shapes])


def benched(at: Entry, rows: Columns) -> Any:
    """What the curve gives for rows dealt in turn."""
    form = known()["experts"][at.dtype]
    hidden, inter, top_k, count, tp, ep = (rows[name].astype(float) for name in SIZES)
    tokens, gate = rows["num_tokens"].astype(float), gated(rows)
    cases = zip(tokens.tolist(), count.tolist(), top_k.tolist(), (count // ep).tolist(), strict=True)
    load = np.array([dealt(*(int(x) for x in case)) for case in cases])
    return grouped_seconds(
        load[:, 0],
        load[:, 1],
        tokens=tokens,
        top_k=top_k,
        hidden=hidden,
        width=inter / tp,
        gated=gate,
        expert_bytes=form["weight"] * (2.0 + gate) * hidden * inter / tp,
        input_bytes=form["inputs"],
        peak_flops=peak(at.device, form["compute"] if form["compute"] in at.device.dense_flops else "bf16").flops,
        bytes_per_s=memory_rate(at.device),
        c=at.coefficients,
        floor=False,
    )


@cache
def dealt(tokens: int, count: int, top_k: int, held: int) -> tuple[float, float]:
    """(rows, experts hit) of the first rank where token i takes every stride-th expert from the i-th on."""
    stride = -(-count // top_k)
    first = np.arange(tokens)[:, None] * (1.0 if tokens >= stride else stride / tokens)
    chosen = ((first + np.arange(top_k) * stride) % count).astype(np.int64)
    rows = np.bincount(chosen.ravel(), minlength=count)[:held]
    return float(rows.sum()), float((rows > 0).sum())


def fixed(operator: RoutedExperts) -> Array:
    """log2 of hidden size, width, experts a token, experts, ranks that share them; and whether they have a gate."""
    sizes = (operator.hidden, operator.width, operator.top_k, operator.experts, operator.experts / operator.held)
    return np.array([*(np.log2(sizes) * SCALES), GATE if operator.gated else NO_GATE])


def varying(operator: RoutedExperts, step: Step) -> tuple[Quantity, ...]:
    """Tokens of all ranks."""
    return (step.tokens,)
