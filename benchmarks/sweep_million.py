"""A million configurations: how many seconds, CPU seconds and bytes they take.

python benchmarks/sweep_million.py [--profile]
"""

from __future__ import annotations

import cProfile
import pstats
import resource
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np

from inferwise.serving.sweep import CANNOT_RUN, NO_ROOM, TIMED, Grid, columns, sweep

GRID = Grid(
    models=(
        "meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Llama-3.1-70B-Instruct",
        "meta-llama/Llama-3.2-3B-Instruct",
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-32B",
        "Qwen/Qwen3-30B-A3B",
        "Qwen/Qwen3-235B-A22B",
        "Qwen/Qwen2.5-7B-Instruct",
        "Qwen/Qwen2.5-72B-Instruct",
        "mistralai/Mistral-7B-Instruct-v0.3",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "google/gemma-3-27b-it",
        "google/gemma-3-12b-it",
        "openai/gpt-oss-120b",
        "openai/gpt-oss-20b",
        "deepseek-ai/DeepSeek-V3",
        "Qwen/Qwen3-Next-80B-A3B-Instruct",
        "microsoft/phi-4",
        "Qwen/Qwen3-14B",
        "meta-llama/Llama-3.3-70B-Instruct",
    ),
    gpus=(
        "h100-sxm",
        "h200-sxm",
        "b200-sxm",
        "a100-sxm-80gb",
        "l40s",
        "mi300x",
        "mi325x",
        "mi355x",
        "gaudi-3",
        "rtx-4090",
    ),
    tp=(1, 2, 4, 8),
    weights=("bf16", "fp8"),
    inputs=(128, 512, 1024, 2048, 8192),
    outputs=(64, 128, 256, 512, 1024),
    concurrency=(
        1,
        2,
        3,
        4,
        6,
        8,
        12,
        16,
        24,
        32,
        40,
        48,
        56,
        64,
        80,
        96,
        112,
        128,
        144,
        160,
        176,
        192,
        208,
        224,
        240,
        256,
    ),
)


def main() -> None:
    """Print what it took; with --profile, where the time of a part of it goes, in one process."""
    if "--profile" in sys.argv:
        profiled()
        return
    start, counts, rows, held = time.perf_counter(), np.zeros(3, dtype=int), 0, 0
    for table in sweep(GRID):
        counts += np.bincount(table.columns["status"], minlength=3)
        rows += len(table)
        held = max(held, sum(column.nbytes for column in table.columns.values()))
    seconds = time.perf_counter() - start
    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(each.ru_utime + each.ru_stime for each in (mine, theirs))
    print(f"{rows:,} configurations of {GRID.deployments:,} deployments: {counts[TIMED]:,} timed, ", end="")
    print(f"{counts[NO_ROOM]:,} do not fit, {counts[CANNOT_RUN]:,} cannot run")
    print(f"{seconds:.1f} s, {cpu:.1f} s of CPU; at most {held / 2**20:.1f} MiB a table; peak RSS ", end="")
    print(f"{mine.ru_maxrss / 1024:.0f} MiB, of a worker {theirs.ru_maxrss / 1024:.0f} MiB")


def profiled() -> None:
    """Where the time goes in one process."""
    grid = replace(GRID, models=GRID.models[::6])
    places = [(m, g, t, w) for m in range(len(grid.models)) for g in range(3) for t in range(4) for w in range(2)]
    columns(grid, list(islice(places, 4)))
    profile = cProfile.Profile()
    profile.enable()
    start = time.perf_counter()
    table = columns(grid, places)
    print(f"{len(table):,} configurations in {time.perf_counter() - start:.2f} s")
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
