"""What cannot be used: one line on stderr that names the field or the file and what to do, the contract's exit code,
nothing on stdout, no traceback, in under a second and under 200 MB."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.bad_files import COSTLY, FILES, HEADERS, TENSOR, config, safetensors
from tests.process import Ran, inferwise
from tests.read.gguf_files import head
from tests.read.hub import TOKEN, FakeHub, Repo, serve

from inferwise.cli import run


def assert_refused(ran: Ran, code: int, *said: str) -> None:
    assert (ran.code, ran.out) == (code, ""), ran.err
    assert ran.err.startswith("inferwise: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    assert len(ran.err) <= 520
    for text in said:
        assert text in ran.err
    assert ran.cpu_s < 1
    assert ran.peak_bytes < 200e6


def here(capsys: pytest.CaptureFixture[str], *argv: str) -> Ran:
    """The command in this process."""
    begun = time.process_time()
    code = run(argv)
    cpu_s = time.process_time() - begun
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err, cpu_s, 0)


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_used(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, content, said = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    assert_refused(here(capsys, "fit", str(path)), 2, f"{path}: {said}" if case != "a Git LFS pointer" else said)
    assert_refused(here(capsys, "models", str(path), "--json"), 2, said)


@pytest.mark.parametrize("case", COSTLY)
def test_a_hostile_file_costs_little(case: str, tmp_path: Path) -> None:
    name, content, said = FILES[case]
    (tmp_path / name).write_bytes(content)
    assert_refused(inferwise(tmp_path, ["fit", str(tmp_path / name)]), 2, said)


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_many_small_things_costs_little(name: str, tmp_path: Path) -> None:
    content, said = HEADERS[name]
    (tmp_path / name).write_bytes(content())
    assert_refused(inferwise(tmp_path, ["fit", str(tmp_path / name)]), 2, name, said)


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("digits.json", b'{"hidden_size": 1', "1,000,000,000 bytes; at most 4,194,304 are read"),
        ("zeros.safetensors", (100_000_000).to_bytes(8, "little") + b"{", "entry after 'none'"),
        ("claim.safetensors", (2**60).to_bytes(8, "little"), "the header claims 1,152,921,504,606,846,976 bytes"),
        ("claim.gguf", head(2**60, 2**60), "the number of tensors is 1,152,921,504,606,846,976"),
        ("zeros.gguf", head(2**17, 2**16), "metadata"),
    ],
)
def test_a_file_of_a_gigabyte_costs_little(name: str, start: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(start)
    os.truncate(path, 10**9)  # sparse: no size check saves us
    assert_refused(inferwise(tmp_path, ["models", str(path)]), 2, name, said)


def test_a_directory_for_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "holds no config.json, safetensors or GGUF file; give a language model"
    assert_refused(here(capsys, "fit", str(tmp_path)), 2, str(tmp_path), said)
    (tmp_path / "readme.md").write_text("a model")
    assert_refused(here(capsys, "models", str(tmp_path)), 2, str(tmp_path), said)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    assert_refused(
        here(capsys, "fit", str(tmp_path)), 2, "only pickled weights, which are never read; add its config.json"
    )
    (tmp_path / "config.json").mkdir()
    assert_refused(here(capsys, "fit", str(tmp_path)), 2)
    assert_refused(here(capsys, "fit", "7b", "--config", str(tmp_path)), 2, "a directory, not a file")


def test_a_folder_says_which_of_its_files_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_bytes(config(hidden_size=None))
    assert_refused(here(capsys, "fit", str(tmp_path)), 2, f"{tmp_path}/config.json: field 'hidden_size' is missing")
    (tmp_path / "config.json").write_bytes(config())
    (tmp_path / "model.safetensors").write_bytes(safetensors(TENSOR)[:40])
    assert_refused(here(capsys, "fit", str(tmp_path)), 2, f"{tmp_path}/model.safetensors: the header of 68 bytes")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for arguments in (["fit", str(pipe)], ["fit", "/dev/zero"], ["fit", "7b", "--config", str(pipe)]):
        assert_refused(inferwise(tmp_path, arguments), 2, arguments[-1], "not a regular file; give a regular file")
    assert_refused(inferwise(tmp_path, ["fit", "7b", "--config=/dev/zero"]), 2, "/dev/zero: not a regular file")


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="no such file here")
def test_a_regular_file_that_never_ends(tmp_path: Path) -> None:
    ran = inferwise(tmp_path, ["fit", "/proc/kmsg"])
    assert_refused(ran, 2 if os.geteuid() == 0 and ran.code == 2 else 4, "/proc/kmsg: ")


def test_a_loop_of_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    (tmp_path / "config.json").symlink_to(tmp_path / "config.json")
    for path in (tmp_path / "loop.json", tmp_path):
        assert_refused(here(capsys, "fit", str(path)), 2, str(path))


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_permission_denied_is_the_worlds_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    said = f"{path}: permission denied; make it readable for this user"
    path.write_bytes(config())
    path.chmod(0)
    if os.geteuid() != 0:
        assert_refused(here(capsys, "fit", str(path)), 4, said)
        return
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    here(capsys, "fit", str(tmp_path))  # imports what it needs, while we may read that
    os.seteuid(65534)  # root may read everything
    try:
        ran = here(capsys, "fit", str(path))
    finally:
        os.seteuid(0)
    assert_refused(ran, 4, said)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the name of a model is empty or no text; give a Hub id, a config.json, or a GGUF file"),
        ("   ", "the name of a model is empty or no text"),
        ("a\0b", "the name of a model is empty or no text"),
        ("/etc/\0/config.json", "the name of a model is empty or no text"),
        ("a" * 100_000, f"unknown model '{'a' * 77}...'; give a catalog name, a Hub id"),
        ("org/" + "a" * 100_000, "is no file, folder or Hub id; give owner/name"),
        ("/" + "a" * 100_000, "no such file or folder; check the path"),
        ("~nobody-of-that-name/config.json", "no such file or folder; check the path"),
        ("a\nb", "unknown model 'a b'"),
        ("\x1b[31mred", "unknown model ' [31mred'"),
        ("\udcff\udcfe", "unknown model ' '"),
        ("🦙/🦙", "'🦙/🦙' is no file, folder or Hub id"),
        ("../../../../nowhere", "no such file or folder"),
        ("nowhere.gguf", "nowhere.gguf: no such file or folder"),
        ("org/name/tree/../..", "is no file, folder or Hub id"),
    ],
)
def test_a_name_that_cannot_be_one(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(here(capsys, "fit", name), 2, said)
    if name.strip() or not name:  # `models` lists all for no words
        assert_refused(here(capsys, "models", name), 2, said)


def test_bytes_that_are_no_text_on_the_command_line(tmp_path: Path) -> None:
    assert_refused(inferwise(tmp_path, ["fit", b"\xff\xfe"]), 2, "unknown model")
    assert_refused(inferwise(tmp_path, ["fit", b"./\xff.json"]), 2, "no such file or folder")
    assert_refused(inferwise(tmp_path, ["fit", "a" * 100_000]), 2, "unknown model")


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    repos = {
        "org/model": Repo({"config.json": config()}),
        "org/gated": Repo({"config.json": config()}, gated=True),
        "org/bad": Repo({"config.json": config(vocab_size=-1)}),
        "org/pickled": Repo({"pytorch_model.bin": b"\x80"}),
        "org/ggufs": Repo({"a-Q4_K_M.gguf": head(2**60, 0), "a-Q8_0.gguf": head(0, 0)}),
    }
    with serve(FakeHub(repos)) as served:
        yield served


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("org/missing", 2, "org/missing: the Hub has no such model; check the spelling, or set HF_TOKEN"),
        ("org/model@v9", 2, "org/model@v9: the Hub has no such revision; check what follows '@'"),
        ("org/gated", 4, "the model is gated; accept the licence at"),
        ("org/bad", 2, "org/bad config.json: field 'vocab_size' is -1; it must be"),
        ("org/pickled", 2, "org/pickled: holds only pickled weights, which are never read"),
        ("org/ggufs:Q4_K_M", 2, "a-Q4_K_M.gguf: the number of tensors is 1,152,921,504,606,846,976"),
        ("org/ggufs:Q2_K", 2, "Q4_K_M, Q8_0"),
    ],
)
def test_a_repository_that_cannot_be_used(hub: FakeHub, name: str, code: int, said: str, tmp_path: Path) -> None:
    assert_refused(inferwise(tmp_path, ["fit", name], HF_ENDPOINT=hub.url), code, said)


def test_a_token_opens_what_is_gated(hub: FakeHub, tmp_path: Path) -> None:
    ran = inferwise(tmp_path, ["models", "org/gated", "--json"], HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["parameters"] == 8_030_261_248
    other = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_other", "HF_HOME": str(tmp_path / "other")}
    assert_refused(
        inferwise(tmp_path, ["models", "org/gated"], **other), 4, "the model is gated; accept the licence at"
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "http://127.0.0.1:9: no answer from the Hub ([Errno"),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, "no answer from the Hub"),
        ({"HF_HUB_OFFLINE": "1"}, "org/model: HF_HUB_OFFLINE is set, and the cache"),
    ],
)
def test_no_network(environment: dict[str, str], said: str, tmp_path: Path) -> None:
    assert_refused(inferwise(tmp_path, ["fit", "org/model"], **environment), 4, said, "give a local file")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "h300"], "unknown device 'h300'; did you mean "),
        (["--gpu", "\0"], "unknown device ' '"),
        (["--gpu", "x" * 100_000], "a text of 100,000 characters names no hardware"),
        (["--gpu"], "--gpu requires an argument; see inferwise --help"),
        (["--context", "0"], "context is 0; give a whole number from 1 to"),
        (["--context", "-1"], "context is -1; give a whole number from 1 to"),
        (["--context", "9" * 100_000], "Invalid value for --context"),
        (["--context", "99999999999999999999"], "context is 99999999999999999999; give a whole number from 1 to"),
        (["--context", "nan"], 'unable to convert "nan" into int; see inferwise --help'),
        (["--batch", "0"], "batch is 0; give a whole number from 1 to"),
        (["--tp", "0"], "tp is 0; give a whole number from 1 to 4096"),
        (["--tp", "1000000000"], "tp is 1000000000; give a whole number"),
        (["--pp", "33"], "pp 33 with 32 layers; give each stage a layer"),
        (["--ep", "2"], "ep 2 does not divide tp 1; experts are dealt inside the tensor-parallel group"),
        (["--dp", "2"], "dp 2 x cp 1 does not divide tp 1"),
        (["--cp", "2"], "dp 1 x cp 2 does not divide tp 1"),
        (["--weights", "q4_k_n"], "unknown weight format 'q4_k_n'; did you mean Q4_K_S, Q4_K_M, Q4_K_L?"),
        (["--kv", "q8"], "unknown cache format 'q8'; did you mean q8_0"),
        (["--state", "x"], "unknown cache format 'x'"),
        (["--engine", "tgi"], "unknown engine 'tgi'; did you mean vllm, sglang, tensorrt-llm, llama.cpp"),
        (["--tpp", "2"], "Unknown option: --tpp. Did you mean --tp?; see inferwise --help"),
        (["--" + "x" * 100_000], "Unknown option: --xxx"),
        (["13b"], "['13b']; see inferwise --help"),
    ],
)
def test_options_that_cannot_be(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(here(capsys, "fit", "7b", *arguments), 2, said)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["frob"],
            'Unknown command "frob". Available commands: fit, estimate, models, gpus, detect, logs; '
            "see inferwise --help",
        ),
        (["fit"], "no model named; give one, or a device by --gpu to see what it runs"),
        (["models", "llma"], "unknown model 'llma'; did you mean huggyllama/llama-7b"),
        (["fit", "meta-llama/Llama-3.1-8B-Instuct"], "the catalog has meta-llama/Llama-3.1-8B-Instruct"),
    ],
)
def test_commands_that_cannot_be(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert_refused(here(capsys, *argv), 4 if "the catalog has" in said else 2, said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"= 3", "not TOML: Invalid statement (at line 1, column 1); give a TOML file"),
        (b"\xff\xfe", "not UTF-8 text; give a TOML file"),
        (b"[fit]\ncontexts = 3\n", 'Unknown option: "[contexts]"'),
        (b"[fit]\ncontext = 'long'\n", "Invalid value for [context]"),
        (b"[fit]\ncontext = -1\n", "context is -1; give a whole number"),
        (b"[fits]\ncontext = 3\n", "'fits' is no table of a command; give [fit], [estimate], [models]"),
        (b"fit = 3\n", "'fit' is no table of a command; give [fit], [estimate], [models]"),
        (b"[fit]\na = " + b"[" * 5_000, "not TOML: "),
        (b"[fit]\na = " + b"9" * 5_000, "not TOML: "),
        (b"a." * 4_000 + b"a = 1", "'a' is no table of a command"),
        (b"#" * 10_000, "10,000 bytes; at most 8,192 are read"),
    ],
)
def test_defaults_that_cannot_be(content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d.toml"
    path.write_bytes(content)
    assert_refused(here(capsys, "fit", "7b", "--config", str(path)), 2, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config"], "--config names no file; give a TOML file"),
        (["--config="], "a directory, not a file"),
        (["--config", "/nowhere/d.toml"], "/nowhere/d.toml: no such file or folder; check the path"),
        (["--config", "a\0b"], "not a path; check the path"),
        (["--config", "~nobody-of-that-name/d.toml"], "no such file or folder"),
        (["--config", "/" + "a" * 100_000], "check the path"),
    ],
)
def test_a_file_of_defaults_that_is_none(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = here(capsys, "fit", "7b", *arguments)
    assert_refused(ran, ran.code, said)
    assert ran.code in (2, 4)
