from __future__ import annotations

from pathlib import Path

from inferwise.evidence.logs import parse_log, read_log
from inferwise.units import GIB

LOGS = Path(__file__).parents[2] / "data" / "logs"


def gib(number: float) -> int:
    return round(number * GIB)


def test_a_log_of_two_ranks() -> None:
    log = read_log(LOGS / "sglang_tp2.log")
    assert (log.engine, log.version, log.model) == ("sglang", None, "Qwen/Qwen2.5-7B-Instruct")
    assert (log.tp, log.dp, log.ep, log.dp_attention) == (2, 1, 1, False)
    assert (log.context, log.max_num_seqs, log.max_num_batched_tokens, log.block_size) == (32768, 4096, 8192, 1)
    assert (log.utilization, log.dtype, log.kv_format, log.graphs) == (0.865, "bfloat16", "auto", True)
    assert log.sizes("weights") == {"TP0": (gib(7.23), GIB // 100), "TP1": (gib(7.21), GIB // 100)}
    assert log.sizes("graphs") == {"TP0": (gib(2.24), GIB // 100), "TP1": (gib(2.21), GIB // 100)}
    pool = log.smallest("kv_pool")
    assert pool == (2 * gib(29.83), 2 * (GIB // 100))
    assert log.kv_tokens == 2_234_254
    assert [device.free_bytes for device in log.devices] == [gib(77.32), gib(77.32)]
    assert log.unread == ("version (SGLang prints none of its own)", "device name")


def test_the_pool_is_what_its_rule_gives() -> None:
    # free after loading, less (1 - mem_fraction_static) of what was free before
    log = read_log(LOGS / "sglang_tp2.log")
    pool = log.smallest("kv_pool")
    assert pool is not None
    assert log.utilization is not None
    assert abs(pool[0] - (gib(70.09) - (1 - log.utilization) * gib(77.32))) < 3 * pool[1]


def test_a_draft_model_and_a_recurrent_state_are_kept_apart() -> None:
    log = read_log(LOGS / "sglang_hybrid_draft.log")
    assert (log.weights, log.kv_format, log.context) == ("fp8", "fp8_e4m3", 262_144)
    sizes = {term.name: term.size_bytes for term in log.terms}
    assert sizes["weights"] == gib(76.03)
    assert sizes["draft weights"] == gib(3.23)
    assert sizes["kv_pool"] == 2 * gib(5.35)
    assert sizes["draft kv_pool"] == 2 * gib(0.45)
    assert sizes["recurrent"] == gib(0.24) + gib(10.13) + gib(13.5) + gib(0.16)
    assert (sizes["graphs"], sizes["draft graphs"]) == (gib(0.92), gib(0.31))
    assert log.kv_tokens == 935_168


def test_a_windowed_pool_stands_for_the_two_that_it_is_made_of() -> None:
    log = parse_log(
        "server_args=ServerArgs(model_path='google/gemma-3-27b-it', mem_fraction_static=0.85, tp_size=1)\n"
        "[2026-01-31 10:00:00] Load weight begin. avail mem=78.00 GB\n"
        "[2026-01-31 10:00:09] Load weight end. type=G, dtype=torch.bfloat16, avail mem=26.00 GB, mem usage=52.00 GB.\n"
        "[2026-01-31 10:00:10] KV Cache is allocated. #tokens: 40000, K size: 5.00 GB, V size: 5.00 GB\n"
        "[2026-01-31 10:00:10] KV Cache is allocated. #tokens: 50000, K size: 1.00 GB, V size: 1.00 GB\n"
        "[2026-01-31 10:00:10] SWAKVPool mem usage: 12.00 GB, swa size: 40000, full size: 50000\n"
    )
    assert log.sizes("kv_pool") == {"": (12 * GIB, GIB // 100)}
    assert not log.sizes("draft kv_pool")
    assert log.kv_tokens == 50_000


def test_versions_that_print_no_usage_tell_it_by_what_is_free() -> None:
    log = parse_log(
        "[gpu_id=0] Load weight begin. avail mem=31.50 GB\n"
        "[gpu_id=1] Load weight begin. avail mem=31.40 GB\n"
        "[gpu_id=0] Load weight end. type=Qwen2ForCausalLM, dtype=torch.bfloat16, avail mem=24.00 GB\n"
        "[gpu_id=1] Load weight end. type=Qwen2ForCausalLM, dtype=torch.bfloat16, avail mem=23.80 GB\n"
        "[gpu_id=0] max_total_num_tokens=100000, max_prefill_tokens=16384, context_len=32768\n"
    )
    assert log.sizes("weights") == {
        "gpu 0": (gib(31.5) - gib(24), 2 * (GIB // 100)),
        "gpu 1": (gib(31.4) - gib(23.8), 2 * (GIB // 100)),
    }
    assert (log.kv_tokens, log.context) == (100_000, 32_768)
    assert any("KV pool" in text for text in log.unread)


def test_of_several_starts_the_last_complete_one_is_read() -> None:
    one, two = (LOGS / "sglang_tp2.log").read_text(), (LOGS / "sglang_hybrid_draft.log").read_text()
    failed = two.split("Mamba Cache")[0]
    log = parse_log(two + one + failed)
    assert (log.starts, log.model, log.kv_tokens) == (3, "Qwen/Qwen2.5-7B-Instruct", 2_234_254)
