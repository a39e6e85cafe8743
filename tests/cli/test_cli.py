"""The command line as its users meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.cli.command import Command
from tests.process import COMMAND, clean_environment, inferwise

import inferwise as iw
from inferwise.catalog import models as catalog
from inferwise.catalog.accelerators import accelerators
from inferwise.catalog.nodes import nodes
from inferwise.cli import run

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
V3 = "deepseek-ai/DeepSeek-V3"


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
