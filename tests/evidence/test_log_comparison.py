from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.evidence.logs.test_llama_cpp import HYBRID, NEW
from tests.evidence.logs.test_vllm import LOGS

from inferwise.evidence.log_case import case_of
from inferwise.evidence.log_comparison import Comparison, compare
from inferwise.evidence.logs import parse_log, read_log
from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.row import Row
from inferwise.memory.allocation import Allocation, DeviceMemory, Pool, Term
from inferwise.memory.engines import allocate
from inferwise.report.logs import log_dict, log_text
from inferwise.units import GIB, MIB

TOKEN = 57_344  # bytes of a token of Qwen2.5-7B: 28 layers x 2 x 4 heads x 128 x 2 B


def gib(number: float) -> int:
    return round(number * GIB)


def predicted(log: EngineLog, sizes: dict[str, int], pool_bytes: int | None = None) -> Allocation:
    """An allocation of these terms on each device."""
    case = case_of(log, gpu="" if log.engine == "vllm" else "h100-sxm-80gb")
    terms = tuple(Term(name, size, f"how of {name}") for name, size in sizes.items())
    held = pool_bytes or sizes.get("kv pool", 0)
    pool = Pool(
        size_bytes=held,
        block_tokens=16,
        block_bytes=16 * TOKEN,
        tokens=held // (16 * TOKEN) * 16,
        sequence_bytes=case.context * TOKEN,
    )
    return Allocation(
        case=case,
        devices=tuple(DeviceMemory(device=device, terms=terms) for device in case.devices),
        pool=pool,
        max_batch=1,
        max_context=None,
        settings=(("max_num_seqs", 256, "default of 0.19"),),
    )


def row(comparison: Comparison, term: str, device: str = "") -> Row:
    return next(each for each in comparison.rows if (each.term, each.device) == (term, device))


def test_what_differs_by_rounding_is_equal() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    sizes = {"weights": gib(14.2488), "activations": gib(2.21), "non-torch": gib(0.24), "kv pool": gib(58.531)}
    comparison = compare(log, predicted(log, sizes))
    for term in sizes:
        assert row(comparison, term).explanation == "equal to the log's rounding", term
        assert row(comparison, term).equal
    assert row(comparison, "kv tokens").relative == pytest.approx(0, abs=1e-3)


def test_a_pools_difference_is_that_of_the_other_terms() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    sizes = {"weights": gib(14.25), "activations": gib(2.71), "non-torch": gib(0.14), "kv pool": gib(58.13)}
    pool = row(compare(log, predicted(log, sizes)), "kv pool")
    assert pool.difference == pytest.approx(gib(-0.40), abs=2)
    assert pool.explanation == "it is what the others leave: activations -0.50 GiB, non-torch +0.10 GiB"
    assert pool.relative == pytest.approx(-0.4 / 58.53)


def test_another_device_explains_the_pool_too() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    made = predicted(log, {"weights": gib(14.25), "kv pool": gib(66)})
    bigger = replace(made.devices[0], device=replace(made.devices[0].device, cuda_bytes=87 * GIB))
    pool = row(compare(log, replace(made, devices=(bigger,))), "kv pool")
    assert "the device's memory +7.81 GiB" in pool.explanation


def test_tokens_are_told_apart_from_bytes_of_a_token() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    made = predicted(log, {"weights": gib(14.25), "kv pool": gib(58.53)})
    assert made.pool is not None
    half = replace(made, pool=replace(made.pool, tokens=548_000))
    assert "a token's bytes by +100.0" in row(compare(log, half), "kv tokens").explanation
    less = predicted(log, {"weights": gib(14.25), "kv pool": gib(57)})
    assert "a token takes 57,344 B in both" in row(compare(log, less), "kv tokens").explanation


def test_what_vllm_does_not_print_is_what_its_budget_leaves() -> None:
    text = (LOGS / "vllm_v1.log").read_text()
    kept = "\n".join(line for line in text.splitlines() if "profiling takes" not in line and "Actual" not in line)
    log = parse_log(kept)
    assert not log.sizes("activations")
    sizes = {"weights": gib(14.25), "activations": gib(2.21), "non-torch": gib(0.24), "kv pool": gib(58.53)}
    made = predicted(replace(log, devices=read_log(LOGS / "vllm_v1.log").devices), sizes)
    left = row(compare(replace(log, devices=()), made), "activations + non-torch")
    assert left.logged == pytest.approx(gib(0.95 * 79.19 - 14.25 - 58.53), abs=2)
    assert left.difference is not None
    assert abs(left.difference) <= left.resolution
    assert left.explanation.startswith("not printed: 0.95 x the device's memory")


def test_ranks_that_differ_are_told() -> None:
    log = read_log(LOGS / "vllm_v1_tp2.log")
    made = predicted(log, {"weights": gib(28.4), "non-torch": gib(2.1), "kv pool": gib(38)})
    comparison = compare(log, made)
    both = row(comparison, "weights + non-torch")
    assert both.logged == gib(30.52)
    assert both.predicted == gib(28.4) + gib(2.1)
    assert "2 ranks: 30.49 GiB to 30.52 GiB" in both.explanation
    assert row(comparison, "kv pool").logged == gib(37.9)  # of the rank with least
    assert any("does not say max_num_seqs: 256 (default of 0.19)" in note for note in comparison.notes)


def test_terms_of_one_side_only_say_so() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    comparison = compare(log, predicted(log, {"weights": gib(14.25), "reserved": gib(1), "kv pool": gib(58.53)}))
    assert row(comparison, "activations").explanation == "our accounting has no such term"
    assert row(comparison, "activations").difference is None
    assert row(comparison, "reserved").logged is None
    assert row(comparison, "reserved").explanation == "the log does not print it; ours: how of reserved"


def test_a_draft_model_is_left_out_and_named() -> None:
    log = read_log(LOGS / "sglang_hybrid_draft.log")
    comparison = compare(log, predicted(log, {"weights": gib(74), "kv pool": gib(12), "recurrent": gib(24.03)}))
    assert not any(each.term.startswith("draft") for each in comparison.rows)
    assert any("draft model" in note for note in comparison.notes)
    assert row(comparison, "recurrent").equal


def llama(log: EngineLog, *devices: dict[str, float], host: dict[str, float]) -> Allocation:
    case = case_of(log, model="Qwen/Qwen2.5-7B-Instruct")

    def terms(sizes: dict[str, float]) -> tuple[Term, ...]:
        return tuple(Term(name, round(size * MIB), f"how of {name}") for name, size in sizes.items())

    held = tuple(
        DeviceMemory(device=device, terms=terms(sizes)) for device, sizes in zip(case.devices, devices, strict=False)
    )
    return Allocation(case=case, devices=held, host=terms(host), max_batch=1, max_context=None)


def test_buffers_are_compared_device_by_device() -> None:
    log = parse_log(NEW)
    first = {"weights": 2787.449, "kv": 578.0, "compute": 210.0}
    second = {"weights": 1400.0, "kv": 374.0, "compute": 304.75}
    comparison = compare(log, llama(log, first, second, host={"weights": 292.36, "output": 2.32, "compute": 76.05}))
    assert row(comparison, "weights", "CUDA0").equal
    assert row(comparison, "kv", "CUDA1").equal
    assert not row(comparison, "compute", "CUDA0").equal  # 210.04 printed
    assert row(comparison, "weights", "CUDA1").difference == pytest.approx((1400 - 1380.64) * MIB, abs=2)
    assert row(comparison, "weights", "CUDA1").explanation == "ours: how of weights"
    assert all(row(comparison, term, "host").equal for term in ("weights", "output", "compute"))
    assert not any(each.term == "file" for each in comparison.rows)


def test_on_a_cpu_mapped_and_repacked_weights_are_one_term() -> None:
    log = parse_log(HYBRID.replace("load_tensors:", "  - CPU : Some CPU (24105 MiB, 24000 MiB free)\nload_tensors:", 1))
    case = case_of(log, model="Qwen/Qwen2.5-7B-Instruct")
    terms = tuple(
        Term(name, round(size * MIB), "")
        for name, size in (("weights", 10), ("repacked weights", 8), ("kv", 4.5), ("recurrent", 20.94))
    )
    made = Allocation(
        case=case,
        devices=(DeviceMemory(device=case.devices[0], terms=terms),),
        max_batch=1,
        max_context=None,
    )
    comparison = compare(log, made)
    for term in ("weights", "kv", "recurrent"):
        assert row(comparison, term, "host").equal, term
    assert row(comparison, "output", "host").predicted is None


@pytest.mark.parametrize("name", ["vllm_v1.log", "vllm_v1_tp2.log", "vllm_v0.log"])
def test_the_report_shows_every_row(name: str) -> None:
    log = read_log(LOGS / name)
    comparison = compare(log, predicted(log, {"weights": gib(14), "non-torch": gib(1), "kv pool": gib(58.53)}))
    text = log_text(log, comparison)
    assert all(each.term in text for each in comparison.rows)
    assert f"{log.kv_tokens:,}" in text
    assert "not in the log" in text
    shown = log_dict(log, comparison)
    assert shown["schema"] == "inferwise/log/1"
    assert len(shown["comparison"]["rows"]) == len(comparison.rows)
    assert json.loads(json.dumps(shown)) == shown


def test_the_report_of_a_log_alone() -> None:
    log = read_log(LOGS / "sglang_tp2.log")
    text = log_text(log, why_not="say which it is by --gpu")
    assert "not compared: say which it is by --gpu" in text
    assert "2,234,254" in text
    assert "59.66 GiB" in text
    assert log_dict(log)["comparison"] is None


def test_the_accounting_itself_stands_beside_a_log() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    comparison = compare(log, allocate(case_of(log)))
    for term, most in (("weights", 0.005), ("activations", 0.12), ("non-torch", 0.15), ("kv pool", 0.02)):
        relative = row(comparison, term).relative
        assert relative is not None, term
        assert abs(relative) < most, term  # the bounds; the log has a measured row's figures
    tokens = row(comparison, "kv tokens")
    assert tokens.relative == pytest.approx(0, abs=0.02)
