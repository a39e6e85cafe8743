"""Fit the experts' kernel to measured fused-MoE operators; writes timing/curves/experts.json.

    python benchmarks/fit_experts.py WHEEL_DIR     # as benchmarks/kernel_fit.py says

What a row measures (ai-dynamo/aiconfigurator, collector/): num_tokens are those of the whole EP group and inter_size is
the whole expert's; one device runs rank 0, which the collector gives the heaviest load. The kernel is fitted on the
rows and the hit experts that its routing gave (expert_routing.py); the skews nearest to it are in the file's head.

Kernels: expert_rows.py says which; the error on models that take another one is `others`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expert_routing import skew_of
from expert_rows import Timed, timings
from inferwise.timing.kernels.experts import expert_load, grouped_seconds
from kernel_fit import SOURCE, fit, write

START = {"compute": 0.5, "memory": 0.8, "p": 3.0, "pad": 4.0, "narrow": 16.0, "ramp": 1e6, "act": 0.5}
START |= {
    "adapt": 64.0,
    "computed": 0.01,
    "foreign": 0.1,
    "launch": 1e-5,
    "sort": 1e-5,
    "sort_rows": 64.0,
    "plain": 1.05,
}
# The loss has several valleys: tiles fixed or adapting, compute and memory one after the other or side by side.
STARTS: tuple[dict[str, float], ...] = ({}, {"pad": 64.0, "adapt": 1.0, "narrow": 100.0}, {"p": 1.2, "adapt": 16.0})
LOW = {"compute": 0.02, "memory": 0.1, "p": 1.0, "pad": 0.01, "narrow": 0.1, "ramp": 1e3, "act": 0.02}
LOW |= {"adapt": 0.01, "computed": 1e-4, "foreign": 1e-4, "launch": 1e-6, "sort": 1e-8, "sort_rows": 2.0}
LOW |= {"plain": 0.5}
HIGH = {"compute": 1.0, "memory": 1.1, "p": 12.0, "pad": 256.0, "narrow": 2000.0, "ramp": 3e7, "act": 5.0}
HIGH |= {
    "adapt": 512.0,
    "computed": 1.0,
    "foreign": 1.0,
    "launch": 3e-4,
    "sort": 1e-4,
    "sort_rows": 4000.0,
    "plain": 5.0,
}
MOST_ROWS_POOLED = 1200


def measured_entry(one: Timed) -> dict[str, Any]:
    """The curve of one device, engine and format."""
    c = fitted([one], [one.fitted & ~one.left_out])
    error = np.abs(one.predict(c) / one.seconds - 1)
    arguments = dict(one.arguments)
    rows, hit = expert_load(one.arguments["tokens"], top_k=one.arguments["top_k"], **one.skewed)
    arguments |= {"rows": rows, "hit": hit}
    by_skew = np.abs(grouped_seconds(**arguments, c=c) / one.seconds - 1)
    seen, score = one.fitted & ~one.left_out, one.fitted & one.left_out
    bias = one.predict(c, seen) / one.seconds[seen] - 1
    entry = {
        "device": one.device.slug,
        "architecture": one.device.architecture,
        "vendor": one.device.vendor,
        "engine": one.engine,
        "version": one.version,
        "dtype": one.dtype,
        "kernel_source": one.kernel_source,
        "coefficients": c,
        "rows": int(seen.sum()),
        "median": float(np.median(error[seen])),
        "p90": float(np.quantile(error[seen], 0.9)),
        "bias": float(np.median(bias)),
        "left_out": float(np.median(error[score])),
        "left_out_p90": float(np.quantile(error[score], 0.9)),
        "left_out_by_skew": float(np.median(by_skew[score])),
        "left_out_all_kernels": float(np.median(error[one.left_out])),
    }
    if (~one.fitted).sum() > 20:
        entry["others"] = float(np.median(error[~one.fitted]))
    return entry


def fitted(ones: Sequence[Timed], masks: Sequence[np.ndarray]) -> dict[str, float]:
    """Coefficients on the rows in the masks; each device counts alike, however many engines timed it."""
    measured = np.concatenate([one.seconds[m] for one, m in zip(ones, masks, strict=True)])
    total: dict[str, int] = {}
    for one, mask in zip(ones, masks, strict=True):
        total[one.device.slug] = total.get(one.device.slug, 0) + int(mask.sum())
    weights = np.concatenate(
        [np.full(int(m.sum()), total[one.device.slug] ** -0.5) for one, m in zip(ones, masks, strict=True)]
    )
    stacked = {
        k: np.concatenate(
            [np.broadcast_to(one.arguments[k], one.seconds.shape)[m] for one, m in zip(ones, masks, strict=True)]
        )
        for k in ones[0].arguments
    }
    gated = bool(stacked["gated"].all())
    fixed = {"plain": 1.0} if gated else {}

    def model(c: dict[str, float]) -> np.ndarray:
        return np.asarray(grouped_seconds(**stacked, c={**c, **fixed}, floor=False))

    best: dict[str, float] = {}
    least = np.inf
    for other in STARTS:
        start = {k: v for k, v in (START | other).items() if k not in fixed}
        low, high = ({k: bound[k] for k in start} for bound in (LOW, HIGH))
        found = fit(model, measured, start, low, high, weights / weights.mean())
        miss = float(np.average(np.abs(np.log(model(found) / measured)), weights=weights**2))
        if miss < least:
            best, least = found, miss
    return best | fixed


def pooled_entries(ones: Sequence[Timed]) -> Iterator[dict[str, Any]]:
    """By format: each architecture, NVIDIA, and any device."""
    for dtype in sorted({one.dtype for one in ones}):
        group = [one for one in ones if one.dtype == dtype]
        for architecture in sorted({one.device.architecture for one in group}):
            members = [one for one in group if one.device.architecture == architecture]
            yield pooled(members, group, {"architecture": architecture, "vendor": members[0].device.vendor})
        yield pooled([o for o in group if o.device.vendor == "NVIDIA"], group, {"architecture": "", "vendor": "NVIDIA"})
        yield pooled(group, group, {"architecture": "", "vendor": ""})


def pooled(members: Sequence[Timed], group: Sequence[Timed], keys: dict[str, str]) -> dict[str, Any]:
    """One curve over devices and engines, and for each device the error of the curve that has not seen it."""
    c = fitted(members, [some(one) for one in members])
    error = np.concatenate([np.abs(one.predict(c) / one.seconds - 1)[one.fitted] for one in members])
    bias = np.concatenate([(one.predict(c) / one.seconds - 1)[one.fitted] for one in members])
    left: dict[str, float] = {}
    for slug in sorted({one.device.slug for one in members}):
        others = [one for one in members if one.device.slug != slug]
        others = others or [o for o in group if o.device.slug != slug and o.device.vendor == keys["vendor"]]
        others = others or [o for o in group if o.device.slug != slug]
        if others:
            without = fitted(others, [some(one) for one in others])
            own = [one for one in members if one.device.slug == slug]
            ape = [np.abs(one.predict(without) / one.seconds - 1)[one.fitted] for one in own]
            left[slug] = round(float(np.median(np.concatenate(ape))), 4)
    return {
        "device": "",
        **keys,
        "engine": "",
        "version": "",
        "dtype": members[0].dtype,
        "coefficients": c,
        "rows": int(sum(some(one).sum() for one in members)),
        "median": float(np.median(error)),
        "p90": float(np.quantile(error, 0.9)),
        "bias": float(np.median(bias)),
        "left_out": float(np.median(list(left.values()))) if left else float(np.median(error)),
        "left_out_devices": left,
    }


def some(one: Timed) -> np.ndarray:
    """A sample of the fitted rows, the same every time."""
    at = np.flatnonzero(one.fitted)
    mask = np.zeros(len(one.seconds), dtype=bool)
    mask[np.random.default_rng(0).permutation(at)[:MOST_ROWS_POOLED]] = True
    return mask


def nearest_device(one: Timed, ones: Sequence[Timed], curves: dict[tuple[str, str, str], dict[str, float]]) -> Any:
    """Error with the curve of the nearest other device (same engine, format and architecture family), or None."""
    family = one.device.architecture.split()[0]
    near = [
        (abs(np.log((o.device.memory_bytes_per_s or 1) / (one.device.memory_bytes_per_s or 1))), o.device.slug)
        for o in ones
        if (o.engine, o.dtype) == (one.engine, one.dtype)
        and o.device.slug != one.device.slug
        and o.device.architecture.split()[0] == family
    ]
    if not near:
        return None
    c = curves[min(near)[1], one.engine, one.dtype]
    return float(np.median(np.abs(one.predict(c) / one.seconds - 1)[one.fitted]))


def main(wheel: Path) -> None:
    """Fit all, print what was found, write the file."""
    ones = list(timings(wheel))
    entries = []
    for one in ones:
        entries.append(measured_entry(one))
        show(entries[-1])
    curves = {(e["device"], e["engine"], e["dtype"]): e["coefficients"] for e in entries}
    for one, entry in zip(ones, entries, strict=True):
        entry["by_nearest_device"] = nearest_device(one, ones, curves)
    for entry in pooled_entries(ones):
        entries.append(entry)
        show(entry)
    skews = {d: skew_of(d) for d in ("balanced", "power_law_1.01", "power_law_1.2")}
    about = (
        "Experts of one layer on one device; coefficients of timing/kernels/experts.py. left_out: shapes "
        "(hidden, inter, topk, experts, tp, ep) that the fit did not see, routing as measured; left_out_by_skew: "
        f"routing by these skews: {skews}; others: models that the engine gives another kernel; "
        "by_nearest_device: all rows, coefficients of the nearest timed device of the architecture."
    )
    write("experts", about, SOURCE.format(folder="moe", table="moe_perf"), entries)


def show(entry: dict[str, Any]) -> None:
    """One line."""
    where = entry["device"] or entry["architecture"] or entry["vendor"] or "any"
    keys = ("median", "p90", "left_out", "left_out_by_skew", "left_out_all_kernels", "others", "left_out_devices")
    figures = {k: round(v, 3) if isinstance(v, float) else v for k in keys if (v := entry.get(k)) is not None}
    print(where, entry["engine"], entry["version"], entry["dtype"], entry["rows"], figures, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
