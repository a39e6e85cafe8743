"""`inferwise fit` as its users meet it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.cli.command import Command

import inferwise as iw
from inferwise.catalog.accelerators import accelerators

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
V3 = "deepseek-ai/DeepSeek-V3"


def test_fit_on_every_device(command: Command) -> None:
    assert command("fit", "llama-3.1-8b-instruct") == 0
    every = command.out
    assert command("fit", LLAMA, "--gpu", "h100", "--all-gpus") == 2
    assert command("fit", LLAMA, "--gpu", "") == 2
    assert command("fit", LLAMA, "--all-gpus") == 0
    assert command.out == every
    lines = every.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line and line.split()[0] in accelerators()}
    assert list(rows) == list(accelerators())
    held = [row for row in rows.values() if row[3] != "no"]
    assert lines[0] == (
        f"{LLAMA}: 8,030,261,248 parameters (8.03 B); {len(held)} of {len(rows)} devices hold 1 x 8,192 tokens"
    )
    one = iw.fit(LLAMA, "h100")
    assert rows["h100-sxm-80gb"][3:] == ["1", "vllm", f"{one.max_batch}", "131,072", "(model's)"]
    assert rows["rtx-3060-12gb"][3] == "2"
    assert iw.fit(LLAMA, "rtx-3060-12gb", count=2).fits
    assert not iw.fit(LLAMA, "rtx-3060-12gb").fits
    assert rows["raspberry-pi-5-8gb"][3] == "no"


def test_fit_on_one_device(command: Command) -> None:
    assert command("fit", LLAMA, "--gpu", "rtx 4090", "--context", "32768", "--used", "0") == 0
    result = iw.fit(LLAMA, "rtx-4090", context=32768, used_bytes=0)
    assert command.out.startswith(
        f"{LLAMA}: 8.03 B parameters, on RTX 4090 with vllm {result.case.engine.version}: fits"
    )
    memory = result.allocation.devices[0]
    assert memory.size("weights") > 16_060_522_496
    for term in memory.terms:
        assert re.search(
            rf"^  \w  {term.name} +[\d.]+ \w+ +{term.size_bytes / memory.capacity_bytes:.1%}$", command.out, re.M
        )
    for text in (
        "lower bound on the device: weights 14.96 GiB (dtype of the config: bf16) + state of 1 x 32,768 tokens",
        f"room for 1 sequence of 32,768 tokens, or 1 of {result.max_context:,} tokens",
        "tested against start-up logs of vLLM 0.19 on H100 (27 rows)",
    ):
        assert text in command.out
    bar = next(line for line in command.out.splitlines() if line.startswith("  [")).strip()
    assert len(bar) == 62
    assert bar.count("w") == round(60 * memory.size("weights") / memory.capacity_bytes)


def test_lengths_in_other_words(command: Command) -> None:
    asked = ("fit", LLAMA, "--gpu", "rtx-4090")
    plain = command.json(*asked, "--context", "6000", "--batch", "2")
    assert plain == command.json(*asked, "--input", "5000", "--output", "1000", "--concurrency", "2")
    assert command(*asked, "--input", "5000", "--output", "1000", "--context", "4096") == 2
    assert command(*asked, "--batch", "2", "--concurrency", "3") == 2
    cloud = command.json(*asked, "--mode", "cloud")["allocation"]["devices"][0]["terms"]
    local = command.json(*asked)["allocation"]["devices"][0]["terms"]
    assert local["others"] == 2**29
    assert "others" not in cloud
    assert command(*asked, "--mode", "moon") == 2


def test_three_is_no(command: Command) -> None:
    assert command("fit", "meta-llama/Llama-3.1-70B", "--gpu", "rtx-4090") == 3
    for text in ("does not fit", "missing", "room for no sequence of 8,192 tokens", "problem: ", "to make it fit"):
        assert text in command.out
    told = command.json("fit", "meta-llama/Llama-3.1-70B", "--gpu", "rtx-4090", code=3)
    assert told["fits"] is False
    assert told["allocation"]["problems"]
    assert command("fit", V3, "--engine", "vllm", "--count", "2", "--gpu", "rtx-3060-12gb") == 3
    assert command("fit", V3, "--gpu", "h200", "--tp", "8") == 0
    assert command("fit", V3, "--engine", "tensorrt-llm", "--context", "100000000") == 3  # on none of the devices


def test_every_change_that_is_offered_makes_it_fit(command: Command) -> None:
    base = ("meta-llama/Llama-3.1-70B-Instruct", "--gpu", "a100-sxm-80gb", "--context", "32768", "--batch", "2")
    told = command.json("fit", *base, code=3)
    levers = {change["lever"] for change in told["changes"]}
    assert {"weight format", "devices", "device"} <= levers
    for change in told["changes"]:
        flags = change["flags"].split()
        kept = [part for pair in zip(base[1::2], base[2::2], strict=True) if pair[0] not in flags for part in pair]
        again = command.json("fit", base[0], *kept, *flags)
        assert again["fits"] is True
        assert again["max_batch"] == change["max_batch"]


def test_what_a_device_runs(command: Command) -> None:
    told = command.json("fit", "--gpu", "rtx-3060-12gb")
    assert told["schema"] == "inferwise/runs/1"
    by_name = {row["model"]: row for row in told["models"]}
    llama = by_name[LLAMA] if LLAMA in by_name else next(r for r in told["models"] if LLAMA in r["also"])
    assert iw.fit(LLAMA, "rtx-3060-12gb", weights=llama["weights"], engine=llama["engine"]).fits
    assert "meta-llama/Llama-3.1-70B-Instruct" not in by_name
    fine = [row["parameters"] for row in told["models"] if row["weights"][:2] not in ("Q2", "Q3")]
    assert fine == sorted(fine, reverse=True)
    assert command("fit", "--gpu", "rtx-3060-12gb") == 0
    assert "RTX 3060" in command.out.splitlines()[0]
    assert command("fit", "--gpu", "this") in (0, 3)
    assert command("fit") == 2
    assert "no model named" in command.err


def test_unequal_devices_and_machines(command: Command) -> None:
    gguf = ("--weights", "Q4_K_M", "--split", "layer")
    assert command("fit", "Qwen/Qwen2.5-32B-Instruct", "--gpu", "rtx-3090+rtx-3060-12gb", *gguf) == 0
    assert "device 0: RTX 3090" in command.out
    assert "device 1: RTX 3060" in command.out
    told = command.json("fit", V3, "--gpu", "dgx-h100", "--weights", "int4")
    assert told["devices"] == ["h100-sxm-80gb"] * 8
    assert told["parallel"]["tp"] == 8
    assert command("fit", LLAMA, "--gpu", "h100", "--count", "4", "--tp", "2") == 0
    assert "2 such replicas on 4 devices" in command.out
    assert command("fit", LLAMA, "--gpu", "h100", "--count", "3", "--tp", "2") == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("", {}),
        ("--tp 8", {"tp": 8}),
        ("--tp 8 --ep 8", {"tp": 8, "ep": 8}),
        ("--tp 8 --ep 8 --dp 8 --batch 16", {"tp": 8, "ep": 8, "dp": 8, "batch": 16}),
        ("--tp 8 --cp 8 --pp 2 --context 65536", {"tp": 8, "cp": 8, "pp": 2, "context": 65536}),
        ("--tp 16 --weights Q4_K_M --kv q8_0 --engine llama.cpp",
         {"tp": 16, "weights": "Q4_K_M", "kv": "q8_0", "engine": "llama.cpp"}),
        ("--weights bf16 --kv fp8 --state fp32", {"weights": "bf16", "kv": "fp8", "state": "fp32"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("model", [V3, "Qwen/Qwen3-Next-80B-A3B-Instruct"])
def test_json_is_what_python_gives(command: Command, model: str, options: str, named: dict[str, Any]) -> None:
    expected = iw.fit(model, "b200-sxm-180gb", **named)
    told = command.json("fit", model, "--gpu", "b200-sxm-180gb", *options.split(), code=0 if expected.fits else 3)
    assert told.pop("replicas") == 1
    assert told == json.loads(json.dumps(expected.to_dict()))
    assert told["schema"] == "inferwise/fit/2"


def test_json_of_every_device(command: Command) -> None:
    told = command.json("fit", "7b")
    assert told["schema"] == "inferwise/fits/2"
    assert [row["device"] for row in told["devices"]] == list(accelerators())
    row = next(row for row in told["devices"] if row["device"] == "h100-sxm-80gb")
    assert (row["count"], row["max_batch"]) == (1, iw.fit("7b", "h100").max_batch)


def test_degrees_are_laid_over_the_devices(command: Command) -> None:
    def per_device(*options: str) -> tuple[int, int]:
        told = command.json("fit", V3, "--gpu", "h200", "--batch", "8", *options)["lower_bound"]
        return told["weights"]["total_bytes"], told["state_bytes"]["total"]

    plain = per_device("--tp", "8")
    assert per_device("--tp", "8", "--dp", "8") > plain  # attention copied
    assert per_device("--tp", "8", "--dp", "8")[1] * 8 == plain[1] == 8 * 8192 * 61 * 576 * 2  # latents dealt
    assert per_device("--tp", "8", "--cp", "8") == (plain[0], plain[1] // 8)
    assert per_device("--tp", "8", "--pp", "61")[0] < plain[0] / 8
    assert command("fit", V3, "--gpu", "h200", "--tp", "8", "--pp", "2") == 0
    assert "on 16 x H200 SXM 141GB (tp 8, pp 2) with vllm" in command.out


def test_formats_of_weights_and_cache(command: Command) -> None:
    assert command("fit", LLAMA, "--gpu", "rtx-3060-12gb", "--weights", "Q4_K_M", "--kv", "q8_0") == 0
    assert "with llama.cpp" in command.out
    assert "(converted to Q4_K_M) + state of 1 x 8,192 tokens" in command.out
    told = command.json("fit", LLAMA, "--gpu", "l40s", "--weights", "q4_k_m", "--kv", "Q8_0")["lower_bound"]
    assert told["weights"]["total_bytes"] == 4_912_898_304 - 256  # as published, without rope_freqs
    assert told["state_bytes"]["total"] == 2**29 * 34 // 32


def test_explain(command: Command) -> None:
    assert command("fit", V3, "--gpu", "h200", "--tp", "8", "--explain") == 0
    for text in (
        "the lower bound on the fullest device (tp 8, pp 1, ep 1, dp 1, cp 1)",
        f"({accelerators()['h200-sxm-141gb'].source})",
        "max_num_batched_tokens",
        "LatentAttention: hidden 7,168, heads 128",
        "sum: 671,026,404,352 parameters",
        "58 layers x 8,192 entries x 576 elements of latent in bf16 = 547,356,672 B",
        "sum: 575,668,224 B",
    ):
        assert text in command.out
    assert command("fit", V3, "--gpu", "rtx-4090", "--explain", "--context", "100") == 3
    assert "how the state of 100 tokens adds up" in command.out
    assert command("models", LLAMA, "--explain") == 0
    assert "sum: 8,030,261,248 parameters" in command.out
