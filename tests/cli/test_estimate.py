"""`inferwise estimate` as its users meet it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.cli.command import Command
from tests.process import inferwise

import inferwise as iw

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
ON_H100 = ("estimate", LLAMA, "--gpu", "h100")


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ((), {}),
        (("--concurrency", "16"), {"concurrency": 16}),
        (("--batch", "4", "--input", "100", "--output", "50"), {"batch": 4, "input": 100, "output": 50}),
        (("--batch", "4", "--protocol", "steady_batch"), {"batch": 4, "protocol": "steady_batch"}),
        (("--weights", "fp8", "--kv", "fp8", "--tp", "2"), {"weights": "fp8", "kv": "fp8", "tp": 2}),
        (("--count", "4", "--tp", "1", "--concurrency", "64"), {"count": 4, "tp": 1, "concurrency": 64}),
        (("--prefix", "512", "--context", "4096"), {"prefix": 512, "context": 4096}),
        (("--max-num-seqs", "8", "--concurrency", "32"), {"max_num_seqs": 8, "concurrency": 32}),
    ],
)
def test_json_is_what_python_gives(command: Command, options: tuple[str, ...], asked: dict[str, Any]) -> None:
    told = command.json(*ON_H100, *options)
    assert told["schema"] == "inferwise/estimate/1"
    assert told == json.loads(json.dumps(iw.estimate(LLAMA, "h100", **asked).to_dict()))
    for step in ("decode", "prefill"):
        operators = told[step]["operators"]
        assert sum(row["seconds"] for row in operators) == pytest.approx(told[step]["seconds"])
        assert sum(row["share"] for row in operators) == pytest.approx(1)
        assert sum(told[step]["basis"].values()) == pytest.approx(1)


def test_text_says_how_fast(command: Command) -> None:
    assert command(*ON_H100, "--concurrency", "16") == 0
    assert command.out.startswith(f"{LLAMA}: 8.03 B parameters, on H100 SXM5 80GB with vllm ")
    for word in ("TTFT", "TPOT", "latency", "output", "total", "MFU", "MBU", "bottleneck", "power", "stands on"):
        assert f"\n{word} " in command.out
    assert "a decode step: " not in command.out


def test_explain_shows_the_operators(command: Command) -> None:
    assert command(*ON_H100, "--explain") == 0
    assert "a decode step: 1 x 1,152 tokens" in command.out
    assert "a prompt of 1,024 tokens" in command.out
    assert "gate_proj+up_proj" in command.out
    told = command.json(*ON_H100, "--explain")
    assert any("gate_proj+up_proj" in line for line in told["explanation"])


def test_protocols_follow_the_options(command: Command) -> None:
    for options, protocol in (
        ((), "single_stream"),
        (("--batch", "4"), "static_batch"),
        (("--concurrency", "4"), "closed_loop"),
        (("--concurrency", "4", "--protocol", "offline"), "offline"),
    ):
        assert command.json(*ON_H100, *options)["workload"]["protocol"] == protocol


def test_what_does_not_fit_is_not_timed(command: Command) -> None:
    asked = ("estimate", "meta-llama/Llama-3.1-70B-Instruct", "--gpu", "rtx-4090")
    assert command(*asked) == 3
    for said in ("does not fit", "to make it fit", "--count", "what does not fit is not timed"):
        assert said in command.out
    assert "TPOT" not in command.out
    told = command.json(*asked, code=3)
    assert told["fits"] is False
    assert told["tpot_s"] is None
    assert told["decode"] is None
    assert told["changes"]


def test_a_batch_too_large_says_the_largest_and_what_would_hold_it(command: Command) -> None:
    assert command(*ON_H100, "--batch", "600") == 3
    most = iw.fit(LLAMA, "h100", context=1280).max_batch
    assert f"note: 600 sequences do not fit: the largest batch that does, {most:,}, is timed" in command.out
    assert "to make it fit" in command.out
    assert command(*ON_H100, "--batch", str(most)) == 0
    assert command(*ON_H100, "--concurrency", "600") == 0
    assert "wait for room" in command.out


def test_charts_are_written(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "roof.svg"
    assert command(*ON_H100, "--concurrency", "16", "--svg", str(file)) == 0
    assert f"wrote {file} and {tmp_path / 'roof-curve.svg'}" in command.out
    for name in ("roof.svg", "roof-curve.svg"):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    assert command(*ON_H100, "--svg", str(tmp_path / "x.png")) == 2
    assert command(*ON_H100, "--svg", str(tmp_path / "none" / "x.svg")) == 2
    missing = tmp_path / "missing.svg"
    assert command("estimate", "meta-llama/Llama-3.1-70B-Instruct", "--gpu", "rtx-4090", "--svg", str(missing)) == 3
    assert not missing.exists()


def test_the_curve(command: Command) -> None:
    assert command(*ON_H100, "--curve", "--concurrency", "16") == 0
    assert "TPOT [ms] against tok/s a device" in command.out
    points = command.json(*ON_H100, "--curve", "--concurrency", "16")["curve"]
    assert [point["concurrency"] for point in points if point["asked"]] == [16]
    tpot = [point["tpot_s"] for point in points]
    assert tpot == sorted(tpot)


def test_models_without_tokens(command: Command) -> None:
    told = command.json("estimate", "BAAI/bge-m3", "--gpu", "h100", "--concurrency", "8")
    assert (told["tpot_s"], told["decode"], told["workload"]["output"]) == (None, None, 0)
    assert told["total_tok_s"] > 10_000
    assert command("estimate", "BAAI/bge-m3", "--gpu", "h100", "--output", "5") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gpu", "h100", "--input", "0"), "input is 0; give a whole number from 1"),
        (("--gpu", "h100", "--output", "-1"), "output is -1"),
        (("--gpu", "h100", "--batch", "1000000000"), "batch is 1000000000; give a whole number from 1 to 1,048,576"),
        (("--gpu", "h100", "--tp", "16", "--count", "8"), "8 devices for tp 16 x pp 1"),
        (("--gpu", "h100", "--prefix", "1024"), "prefix 1024 leaves nothing of an input of 1024"),
        (("--gpu", "h100", "--acceptance", "0"), "acceptance is 0"),
        (("--gpu", "h100", "--acceptance", "inf"), "acceptance is inf"),
        (("--gpu", "h100", "--protocol", "poisson"), "protocol is 'poisson'; give single_stream, static_batch"),
        (("--gpu", "h100", "--batch", "2", "--concurrency", "3"), "a batch and a concurrency; give one of them"),
        (("--gpu", "h900"), "unknown device 'h900'; did you mean"),
        (("--gpu", "h100", "--engine", "vlm"), "unknown engine 'vlm'; did you mean vllm?"),
        (("--gpu", "h100", "--engine", "mlx"), "mlx does not run on"),
        (("--gpu", "groq-lpu-v1"), "does not run on Groq LPU"),
        (("--gpu", "rubin-r200"), "no peak in bf16"),
        ((), "no device named; name it by --gpu"),
    ],
)
def test_what_cannot_be_asked_is_one_line(command: Command, options: tuple[str, ...], said: str) -> None:
    assert command("estimate", LLAMA, *options) == 2
    assert command.err.startswith("inferwise: ")
    assert said in command.err
    assert command.err.count("\n") == 1
    assert command.out == ""


def test_a_device_of_ones_own_without_a_bandwidth(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    card = '[devices.mine]\nname = "Mine"\nvendor = "NVIDIA"\narchitecture = "Hopper"\nmemory_gib = 80\n'
    asked = ("estimate", LLAMA, "--gpu", str(file))
    file.write_text(card + "bandwidth_gb_per_s = 3000\n")
    assert command(*asked) == 2
    assert "no peak in bf16 or what it falls back to is known of Mine; give dense_flops" in command.err
    file.write_text(card + "tflops = { fp16 = 900 }\n")
    assert command(*asked) == 2
    assert "no memory bandwidth is known of Mine; give memory_bytes_per_s" in command.err
    file.write_text(card + "bandwidth_gb_per_s = 3000\ntflops = { fp16 = 900 }\n")
    assert command(*asked) == 0
    assert "note: Mine has no bf16: runs in fp16" in command.out


def test_help_needs_no_numpy(tmp_path: Path) -> None:
    for arguments in (["--help"], ["estimate", "--help"]):
        ran = inferwise(tmp_path, arguments, PYTHONPROFILEIMPORTTIME="1")
        assert ran.code == 0
        assert re.search(r"\| +cyclopts$", ran.err, re.M)
        assert not re.search(r"\| +numpy$", ran.err, re.M)
