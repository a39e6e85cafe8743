"""The command line as its users meet it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.process import COMMAND, clean_environment, inferwise

import inferwise as iw
from inferwise.catalog import models as catalog
from inferwise.catalog.accelerators import accelerators
from inferwise.catalog.nodes import nodes
from inferwise.cli import run

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
V3 = "deepseek-ai/DeepSeek-V3"


class Command:
    """Runs the command in this process; `out` and `err` are what it printed last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.out, self.err = capsys, "", ""

    def __call__(self, *argv: str) -> int:
        code = run(argv)
        self.out, self.err = self.capsys.readouterr()
        assert (self.err == "") == (code in (0, 3))
        return code

    def json(self, *argv: str, code: int = 0) -> Any:
        assert self(*argv, "--json") == code
        return json.loads(self.out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_fit_on_every_device(command: Command) -> None:
    assert command("fit", "llama-3.1-8b-instruct") == 0
    every = command.out
    assert command("fit", LLAMA, "--gpu", "h100", "--all-gpus") == 0
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


def test_gpus(command: Command) -> None:
    assert command("gpus") == 0
    listed = command.out.splitlines()
    assert sum(1 for line in listed if line and line.split()[0] in accelerators()) == len(accelerators())
    told = command.json("gpus", "rtx 4090")
    assert [device["slug"] for device in told["gpus"]] == ["rtx-4090"]
    assert command("gpus", "apple", "laptop") == 0
    assert command("gpus", "no such thing") == 2
    machines = command.json("gpus", "machines")["machines"]
    assert [machine["slug"] for machine in machines] == list(nodes())
    dgx = command.json("gpus", "dgx-h100")["machines"][0]
    assert (dgx["link"], dgx["link_bytes_per_s"], dgx["network_bytes_per_s"]) == ("NVLink4", 450e9, 400e9)
    assert dgx["devices"] == ["h100-sxm-80gb"] * 8
    assert command("gpus", "desktop-2x-rtx-3090") == 0
    assert "NVLink3 bridge" in command.out
    assert command("gpus", "machines") == 0
    assert len(command.out.splitlines()) == len(nodes()) + 2


def test_detect(command: Command) -> None:
    told = command.json("detect")
    assert told["schema"] == "inferwise/machine/1"
    assert command("detect") == 0
    assert command.out


def test_a_log(command: Command) -> None:
    log = str(Path(__file__).parent.parent / "data" / "logs" / "vllm_v1.log")
    assert command("logs", log) == 0
    assert "Qwen2.5-7B-Instruct" in command.out
    assert command.json("logs", log)["schema"] == "inferwise/log/1"
    assert command("logs", __file__) == 2


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


def test_models_lists_searches_and_shows(command: Command) -> None:
    assert command("models") == 0
    assert len(command.out.splitlines()) == len(catalog.names()) + 2
    assert command("models", "30b", "qwen3") == 0
    assert [line.split()[0] for line in command.out.splitlines()[2:]] == catalog.search("qwen3 30b")
    assert command("models", "GPT-OSS-20B") == 0
    assert command.out.startswith("openai/gpt-oss-20b  (gpt_oss; 24 layers")
    assert "20,914,757,184" in command.out
    assert command("models", "7b", "--weights", "int4", "--kv", "fp8") == 0
    assert "converted to int4" in command.out
    assert "state of one sequence (KV fp8)" in command.out


def test_models_as_json(command: Command) -> None:
    told = command.json("models")
    assert told["schema"] == "inferwise/models/1"
    assert {"id": LLAMA, "parameters": 8030261248, "active_parameters": 8030261248, "verified": "checkpoint"} in told[
        "models"
    ]
    shown = command.json("models", LLAMA)
    assert (shown["schema"], shown["name"], shown["parameters"]) == ("inferwise/model/1", LLAMA, 8_030_261_248)


def test_a_model_that_a_path_names(command: Command, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(catalog.entry(LLAMA).config))
    for path in (tmp_path, tmp_path / "config.json"):
        assert command.json("models", str(path))["parameters"] == 8_030_261_248
        assert command.json("fit", str(path), "--gpu", "l40s")["model"] == str(path)


def test_defaults_from_a_file(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "défauts.toml"
    path.write_text('[fit]\ngpu = "l40s"\ncontext = 4096\nkv = "fp8"\ntp = 2\n[models]\nexplain = true\n')
    expected = iw.fit("7b", "l40s", context=4096, kv="fp8", tp=2)
    assert command.json("fit", "7b", "--config", str(path)) == expected.to_dict() | {"replicas": 1}
    assert command.json("--config", str(path), "fit", "7b") == expected.to_dict() | {"replicas": 1}
    told = command.json("fit", "7b", f"--config={path}", "--context", "128", "--tp", "1")  # what is typed counts more
    assert told == iw.fit("7b", "l40s", context=128, kv="fp8").to_dict() | {"replicas": 1}
    assert command("models", "7b", "--config", str(path)) == 0
    assert "how the parameters add up" in command.out
    assert command("models", "7b") == 0  # and they are gone with the command
    assert "how the parameters add up" not in command.out


def test_help_and_version(command: Command) -> None:
    for argv in ([], ["--help"], ["-h"]):
        assert command(*argv) == 0
        for text in ("fit", "models", "--config FILE", "--version"):
            assert text in command.out
    for verb in ("fit", "models"):
        assert command(verb, "--help") == 0
        for flag in ("--weights", "--kv", "--state", "--engine", "--explain", "--json"):
            assert flag in command.out
    assert command("--version") == 0
    assert command.out == f"{iw.__version__}\n"


def test_our_fault_is_one_and_an_interrupt_is_130(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code, said in (
        (ZeroDivisionError("x"), 1, "inferwise: internal error, our fault: ZeroDivisionError: x; please report it"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RecursionError(), 2, "inferwise: the input asks for too much (RecursionError)"),
        (OSError(28, "No space left on device"), 4, "inferwise: cannot read or write: No space left on device"),
    ):

        def failing(_: str, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("inferwise.read.resolve.resolve", failing)
        assert command("fit", "7b") == code
        assert command.err.startswith(said)
        assert command.err.count("\n") == 1
    monkeypatch.setenv("INFERWISE_DEBUG", "1")
    monkeypatch.setattr("inferwise.read.resolve.resolve", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["fit", "7b"])


def shell(script: str, folder: Path, arguments: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """A shell in which "$@" is the command."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *COMMAND, *arguments],
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize(
    ("script", "code", "err"),
    [
        ('{ "$@" models; echo $? >&2; } | head -1', 0, "0\n"),
        ('{ "$@" models; echo $? >&2; } | true', 0, "0\n"),
        ('"$@" models >&-', 0, ""),
        ('"$@" models >/dev/full', 4, "inferwise: cannot read or write: No space left on device; check the disk\n"),
        ('"$@" fit nothing 2>&-', 2, ""),
        ('"$@" fit 7b --gpu rtx-4060 >/dev/null', 3, ""),
    ],
)
def test_outputs_that_end_early(script: str, code: int, err: str, tmp_path: Path) -> None:
    if "/dev/full" in script and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    ran = shell(script, tmp_path)
    assert (ran.returncode, ran.stderr) == (code, err)


def test_an_output_that_is_no_terminal_has_no_colours_and_takes_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "é🦙"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(catalog.entry(LLAMA).config))
    for arguments in (["--help"], ["fit", "--help"], ["models", str(folder)], ["fit", str(folder)]):
        for encoding in ("utf-8", "ascii"):
            ran = inferwise(tmp_path, arguments, PYTHONIOENCODING=encoding, PYTHONUTF8="0", TERM="xterm-256color")
            assert (ran.code, ran.err) == (0, "")
            assert "\x1b" not in ran.out
            assert ran.out.isascii() or encoding == "utf-8"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_command_says_so(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = clean_environment(tmp_path) | {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        running = subprocess.Popen(
            [*COMMAND, "fit", "org/model"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        silent.settimeout(30)  # a command that fails before it asks must not hold the tests
        connection, _ = silent.accept()  # it waits for an answer
        with connection:
            time.sleep(0.05)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=20)
    assert (running.returncode, out, err) == (130, b"", b"interrupted\n")


@pytest.mark.parametrize(("arguments", "limit_s"), [(["--help"], 0.5), (["models", LLAMA], 0.6)])
def test_an_answer_takes_little(arguments: list[str], limit_s: float, tmp_path: Path) -> None:
    """Twice what is asked of it, for slow machines: what it takes is measured in benchmarks."""
    inferwise(tmp_path, arguments)  # which compiles the bytecode
    assert min(inferwise(tmp_path, arguments).cpu_s for _ in range(2)) < limit_s
