from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.errors import BadInput
from inferwise.evidence.logs import parse_log, read_log
from inferwise.units import GIB

LOGS = Path(__file__).parents[2] / "data" / "logs"


def gib(text: float) -> int:
    return round(text * GIB)


def test_a_log_of_v1_is_read_whole() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    assert (log.engine, log.version, log.model) == ("vllm", "0.19.0", "Qwen/Qwen2.5-7B-Instruct")
    assert (log.dtype, log.weights, log.kv_format, log.graphs) == ("bfloat16", None, "auto", True)
    assert (log.context, log.max_num_seqs, log.max_num_batched_tokens) == (8192, 1024, 8192)
    assert log.utilization == 0.95
    assert log.total_bytes == gib(79.19)
    assert {term.name: term.size_bytes for term in log.terms} == {
        "weights": gib(14.25),
        "activations": gib(2.21),
        "non_torch": gib(0.24),
        "kv_pool": gib(58.53),
        "graphs": gib(0.67),
    }
    assert (log.kv_tokens, log.max_concurrency, log.max_concurrency_context) == (1_096_000, 133.79, 8192)
    assert log.unread == ("device name",)  # of what we look for, the one thing that this log does not print


def test_the_terms_of_a_log_make_up_its_budget() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    assert log.utilization is not None
    assert log.total_bytes is not None
    parts = [log.largest(name) for name in ("weights", "activations", "non_torch", "kv_pool")]
    total = sum(part[0] for part in parts if part)
    assert abs(log.utilization * log.total_bytes - total) <= sum(part[1] for part in parts if part)


def test_each_rank_has_its_terms_and_the_pool_is_the_poorest_ones() -> None:
    log = read_log(LOGS / "vllm_v1_tp2.log")
    assert (log.tp, log.ep, log.version) == (2, 2, "0.30.1")
    assert log.largest("weights") == (gib(28.46), GIB // 100)
    assert log.sizes("weights + non_torch") == {
        "TP0_EP0": (gib(30.52), GIB // 100),
        "TP1_EP1": (gib(30.49), GIB // 100),
    }
    assert log.smallest("kv_pool") == (gib(37.9), GIB // 100)  # printed 37.9, rounded to 0.01 all the same
    assert log.largest("activations") == (gib(3.69), GIB // 100)
    assert (log.kv_tokens, log.max_concurrency) == (1_655_760, 50.53)
    assert log.devices[0].name == "NVIDIA H100 80GB HBM3"
    assert log.utilization == 0.92  # by no flag: from the report at the end
    assert log.kv_format == "fp8"
    assert "max_num_seqs" in log.unread


def test_a_log_of_v0_counts_blocks_of_the_size_it_says() -> None:
    log = read_log(LOGS / "vllm_v0.log")
    assert log.version == "0.6.6.post1"
    assert log.kv_tokens == 13_050 * 32
    assert log.sizes("weights") == {"": (gib(7.5122), GIB // 10**4), "pid 2207": (gib(7.5122), GIB // 10**4)}
    assert log.sizes("non_torch") == {"": (gib(1.22), GIB // 100), "pid 2207": (gib(1.02), GIB // 100)}
    assert log.smallest("kv_pool") == (gib(25.49), GIB // 100)
    assert (log.tp, log.context, log.max_num_seqs, log.utilization) == (2, 16384, 256, 0.9)


def test_of_several_starts_the_last_complete_one_is_read() -> None:
    first = (LOGS / "vllm_v0.log").read_text()
    failed = (LOGS / "vllm_v1.log").read_text().split("Memory profiling takes")[0]
    last = (LOGS / "vllm_v1.log").read_text()
    log = parse_log(first + failed)
    assert (log.starts, log.version, log.kv_tokens) == (2, "0.6.6.post1", 417_600)
    assert log.remarks == ("the log holds 2 starts: the last complete one is read",)
    log = parse_log(first + failed + last)
    assert (log.starts, log.version, log.kv_tokens) == (3, "0.19.0", 1_096_000)


def test_a_start_that_failed_says_so() -> None:
    text = (LOGS / "vllm_v1.log").read_text().split("[kv_cache_utils")[0].replace("58.53 GiB", "-12.1 GiB")
    log = parse_log(text)
    assert log.smallest("kv_pool") == (-gib(12.1), GIB // 100)
    assert log.kv_tokens is None
    assert "no room was left for the KV pool: the engine did not start" in log.remarks


def test_eager_mode_has_no_graphs_to_look_for() -> None:
    text = (LOGS / "vllm_v1.log").read_text().replace("enforce_eager=False", "enforce_eager=True")
    kept = [line for line in text.splitlines() if "Graph capturing" not in line and "Actual usage" not in line]
    log = parse_log("\n".join(kept))
    assert log.graphs is False
    assert not any("graph memory" in text for text in log.unread)


@settings(max_examples=40)
@given(
    weights=st.integers(1, 30_000), pool=st.integers(1, 90_000), tokens=st.integers(16, 10**8), ranks=st.integers(1, 4)
)
def test_what_was_printed_is_read_back(weights: int, pool: int, tokens: int, ranks: int) -> None:
    lines = [
        "(EngineCore_DP0 pid=1) INFO [core.py:1] Initializing a V1 LLM engine (v0.19.0) with config: model='m', x=1"
    ]
    for rank in range(ranks):
        head = f"(Worker_TP{rank} pid={rank})" if ranks > 1 else ""
        lines.append(f"{head} INFO [a.py:1] Model loading took {weights / 100:.4f} GiB and 1.234567 seconds")
        lines.append(f"{head} INFO [a.py:1] Available KV cache memory: {pool / 100 + rank:.2f} GiB")
    lines.append(f"INFO [k.py:1] GPU KV cache size: {tokens:,} tokens")
    log = parse_log("\n".join(lines))
    assert log.kv_tokens == tokens
    assert len(log.sizes("weights")) == ranks
    smallest, largest = log.smallest("kv_pool"), log.largest("weights")
    assert smallest is not None
    assert largest is not None
    assert abs(smallest[0] - pool / 100 * GIB) <= smallest[1]
    assert abs(largest[0] - weights / 100 * GIB) <= largest[1] == GIB // 10**4


def test_lines_of_vllm_without_a_size_are_refused() -> None:
    with pytest.raises(BadInput, match="none with a size"):
        parse_log("INFO api_server.py] vLLM API server version 0.19.0\n")
