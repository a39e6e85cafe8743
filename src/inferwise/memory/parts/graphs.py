"""CUDA graphs: which sizes of step vLLM captures, and what they take, from shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferwise.memory.case import Case
from inferwise.memory.parts.torch_memory import StepShape, activation_peak
from inferwise.memory.placement import Stage
from inferwise.units import human_bytes, round_up

CAPABILITY_10 = ("b100", "b200", "gb200", "b300", "gb300")


def capture_sizes(largest: int, stride: int) -> list[int]:
    """1, 2, 4, every 8 to 256 and then every `stride`, up to the largest [tokens]."""
    return [size for size in (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, stride)) if size <= largest]


def captured_sets(
    defaults: Mapping[str, Any], *, sequences: int, tokens: int, drafted: int = 0, blackwell: bool = False
) -> list[list[int]]:
    """The sizes of each set of graphs (config/vllm.py _set_cudagraph_sizes; V0: worker/model_runner.py).

    A set in pieces, for steps of any kind, and one of whole decode steps, which has only sizes up to max_num_seqs x
    (1 + drafted); a version has one of them or both.
    """
    of_step = drafted + 1
    limit = defaults["graph_largest_blackwell" if blackwell else "graph_largest"]
    wanted = sequences * of_step * defaults["graph_seqs_factor"]
    if not defaults["graph_pieces"]:  # V0 rounds the batch up to a size
        wanted = round_up(wanted, 8) if wanted > 4 else wanted
        return [capture_sizes(min(wanted, limit), defaults["graph_stride"])]
    sizes = capture_sizes(min(wanted, limit, tokens), defaults["graph_stride"])
    if defaults["graph_modes"] < 2:
        return [sizes]
    return [sizes, [size for size in sizes if size <= sequences * of_step]]


def graph_bytes(case: Case, stage: Stage, sequences: int, tokens: int) -> tuple[int, str]:
    """Bytes of a device's CUDA graphs, and how they come about.

    The sets share a memory pool: the first graph, of the largest step, holds that step's activations, and each further
    one at least the floor that vLLM reckons with (v1/worker/gpu_model_runner.py profile_cudagraph_memory). The nodes of
    the driver are not in it. No measurement of ours has tested it.
    """
    data = case.engine.defaults
    blackwell = all(device.slug.startswith(CAPABILITY_10) for device in case.devices)
    sets = captured_sets(data, sequences=sequences, tokens=tokens, drafted=case.speculative_tokens, blackwell=blackwell)
    peak = activation_peak(
        case.model,
        stage,
        StepShape(sets[0][-1], 0, case.parallel.tp, case.parallel.ep),
        logit_bytes=0,
        hidden_copies=data["hidden_copies"],
        moe_chunk=data["moe_chunk_tokens"],
    )
    floor = data["graph_floor_bytes"]
    further = sum(len(sizes) - 1 for sizes in sets)
    counts = " and ".join(str(len(sizes)) for sizes in sets)
    how = (
        f"{counts} sizes up to {sets[0][-1]:,} tokens: {human_bytes(peak.layer)} of activations, and at least "
        f"{human_bytes(floor)} for each further graph; from shapes, untested"
    )
    return peak.layer + further * floor, how
