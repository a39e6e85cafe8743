from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.read.mutate import mutations

from inferwise.errors import BadInput, InferwiseError
from inferwise.evidence.logs import KEYWORDS, READERS, parse_log, read_log
from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.logs.lines import MAX_BYTES, Line, kept_lines

LOGS = Path(__file__).parents[2] / "data" / "logs"
NAMES = ("vllm_v1.log", "vllm_v1_tp2.log", "vllm_v0.log", "sglang_tp2.log", "sglang_hybrid_draft.log")


def said(log: EngineLog) -> dict[str, object]:
    """What a log says, wherever it lies."""
    return {**log.to_dict(), "source": ""}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: "".join(f"2026-03-02T09:14:03.123456789Z {line}\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"\x1b[1;36m{line}\x1b[0;0m\n" for line in text.splitlines()).encode(),
        lambda text: "".join(
            json.dumps({"log": line + "\n", "stream": "stderr"}) + "\n" for line in text.splitlines()
        ).encode(),
        lambda text: b"\xff\xfe\xfa not text \xc3\x28\n".join([b"", text.encode()])[3:],
    ],
    ids=["crlf", "bom", "utf-16", "utf-16 without a mark", "timestamps", "colours", "docker json", "no text before"],
)
def test_wrappings_change_nothing(name: str, wrapped: object, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(wrapped((LOGS / name).read_text()))  # type: ignore[operator]
    ours, plain = said(read_log(path)), said(read_log(LOGS / name))
    for each in (ours, plain):
        each["terms"] = [{**term, "line": 0} for term in each["terms"]]  # type: ignore[attr-defined]
    assert ours == plain


def test_lines_are_numbered_as_in_the_file() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    lines = (LOGS / "vllm_v1.log").read_text().splitlines()
    for term in log.terms:
        assert f"{term.size_bytes / 2**30:.2f}" in lines[term.line - 1]


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("(Worker_TP0 pid=770) INFO x", "TP0"),
        ("(Worker_PP1_TP3 pid=1) INFO x", "PP1_TP3"),
        ("(EngineCore_DP1 pid=2) (Worker_DP1_TP0_EP4 pid=3) INFO x", "DP1_TP0_EP4"),
        ("(VllmWorker rank=3 pid=77) INFO x", "rank 3"),
        ("(VllmWorkerProcess pid=2207) INFO x", "pid 2207"),
        ("(RayWorkerWrapper pid=12, ip=10.0.0.2) INFO x", "pid 12"),
        ("(EngineCore pid=3) INFO x", ""),
        ("(APIServer pid=3) INFO x", ""),
        ("[2026-01-31 10:00:00 TP0] x", "TP0"),
        ("[2026-01-31 10:00:00 DP1 TP0 EP0] x", "DP1 TP0 EP0"),
        ("[gpu_id=1] x", "gpu 1"),
        ("[2026-01-31 10:00:00] x", ""),
    ],
)
def test_the_worker_of_a_line(text: str, rank: str) -> None:
    assert Line(1, text).rank == rank


@pytest.mark.parametrize(
    "text", ["", "\n" * 1000, "hello\n", "print('Available KV cache')\n", "\x00" * 4096, "{" * 5000, '{"log": 1}\n']
)
def test_what_is_no_log_says_what_was_looked_for(text: str) -> None:
    with pytest.raises(BadInput, match="ServerArgs"):
        parse_log(text, "notes.txt")


def test_a_path_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_log(tmp_path / "nothing.log")
    with pytest.raises(BadInput, match="directory"):
        read_log(tmp_path)


def test_a_long_file_is_read_as_far_as_its_start(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    start = (LOGS / "vllm_v1.log").read_bytes()
    with path.open("wb") as file:
        file.write(start)
        file.truncate(MAX_BYTES + 5 * 2**20)  # a hole: no disk, one endless line
    log = read_log(path)
    assert log.kv_tokens == 1_096_000
    assert any("only the first" in text for text in log.remarks)


@pytest.mark.parametrize("name", NAMES)
def test_mutated_logs_raise_nothing_of_their_own(name: str) -> None:
    sound = (LOGS / name).read_bytes()

    @settings(max_examples=60)
    @given(mutations(sound, len(sound)))
    def check(data: bytes) -> None:
        try:
            log = parse_log(data.decode("utf-8", "replace"))
        except InferwiseError:
            return
        assert json.dumps(log.to_dict())
        assert all(term.resolution_bytes > 0 for term in log.terms)

    check()


@settings(max_examples=80)
@given(st.lists(st.tuples(st.sampled_from(KEYWORDS), st.text(max_size=40)), max_size=30))
def test_keywords_with_anything_around_them_raise_nothing_of_their_own(parts: list[tuple[str, str]]) -> None:
    try:
        parse_log("\n".join(f"{after}{word}{after}" for word, after in parts))
    except InferwiseError as error:
        assert error.remedy  # noqa: PT017


@pytest.mark.parametrize("engine", sorted(READERS))
@pytest.mark.parametrize(
    "filling", [" ", "(", "[", "'", "1", "1,", "a", "| - ", "= ", "\x1b[", "pid=1", "TP1 ", "MiB (  "]
)
def test_hostile_lines_cost_no_more_than_their_length(filling: str, engine: str) -> None:
    many = filling * (15_000 // len(filling))
    lines = [f"{many}{word}{many}x" for word in KEYWORDS]
    lines += [f"{word}{filling}" * 200 for word in KEYWORDS]  # 2 MB in all; a regex that backtracks takes hours
    began = time.process_time()
    kept = list(kept_lines(["\n".join(lines).encode()], KEYWORDS))
    assert len(kept) >= len(KEYWORDS)
    READERS[engine](kept)
    assert time.process_time() - began < 15
