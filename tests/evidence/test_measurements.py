from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.errors import BadInput, WorldFailed
from inferwise.evidence.measurements import COLUMNS, Run, run_of, runs

MEASURED = (
    "ttft_ms", "tpot_ms", "latency_ms", "output_tok_s", "total_tok_s", "req_s", "prompt_tok_s", "decode_tok_s",
    "energy_j_per_output_tok", "power_w",
)  # fmt: skip
ROW: dict[str | None, str | list[str] | None] = {
    "id": "a-1",
    "protocol": "single_stream",
    "engine": "llama.cpp",
    "model": "Qwen/Qwen3-32B",
    "accelerator": "ryzen-ai-max-395",
    "isl": "512",
}


def test_a_run_has_the_columns_of_the_configuration_and_no_measured_one() -> None:
    assert not set(MEASURED) & {each.name for each in fields(Run)}
    assert run_of({**ROW, **dict.fromkeys(MEASURED, "12.5")}) == run_of(ROW)
    assert run_of(ROW).isl == "512"
    assert run_of(ROW).fold == run_of(ROW).osl == ""


@pytest.mark.parametrize(
    ("remarks", "facts"),
    [
        (
            "llama-bench pp4096; flash_attn=True hipblaslt=1 b=-b 256 n_ubatch=512; std=2.1; model_bytes=4080263168",
            {"flash_attention": "True", "ubatch": "512", "file_bytes": "4080263168"},
        ),
        (
            "llama-bench tg32 @ d65536 (depth=65536); env=rocm fa=False std=0.27 file_gib=85.6",
            {"flash_attention": "False", "depth": "65536", "file_gib": "85.6"},
        ),
        ("depth=8192 prompt=2048 gen=0 ubatch=256 std=1.2", {"depth": "8192", "ubatch": "256"}),
        ("median ITL; p90=35.6 p99=36.1; task=gpqa; max_num_seqs=8; isl not", {"task": "gpqa", "max_num_seqs": "8"}),
        ("max load; num_prompts=max_num_seqs=1500", {"max_num_seqs": "1500"}),
        ("tok/s = bs*(isl+osl)/latency; Hybrid TP = 2 and EP = 2", {"dealt": "Hybrid TP = 2 and EP = 2"}),
        ("decode-only aggregate tok/s; server_gen_throughput=104.3; wall=33.6", {"cached": "decode-only"}),
        ("batch latency with osl=1; end_latency=13.1 s (of the full run)", {}),
    ],
)
def test_remarks_tell_facts_of_the_set_up_and_nothing_measured(remarks: str, facts: dict[str, str]) -> None:
    found = dict(run_of(ROW | {"remarks": remarks}).facts)
    assert found == facts
    for outcome in ("2.1", "0.27", "35.6", "104.3", "33.6", "13.1"):
        assert outcome not in found.values()


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    path.write_text("id,protocol,engine,model,accelerator,tpot_ms,isl\na,offline,vllm,m,h100,9, 128 \nb,offline,,,,,\n")
    first, second = runs(path)
    assert (first.id, first.isl, first.tp) == ("a", "128", "")
    assert (second.id, second.model) == ("b", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column id, protocol, engine, model, accelerator"),
        ("", "no column id"),
        ("id,protocol,engine,model,accelerator\n,offline,vllm,m,h100\n", "line 2: a row without an id"),
        ("id,protocol,engine,model,accelerator\na,offline,vllm," + "m" * 5000 + ",h100\n", "column model is no short"),
    ],
)
def test_what_is_no_table_of_runs_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        list(runs(path))


def test_a_file_that_cannot_be_read_is_the_worlds_failure(tmp_path: Path) -> None:
    with pytest.raises(WorldFailed):
        list(runs(tmp_path / "none.csv"))
    (tmp_path / "bytes.csv").write_bytes(b"id,protocol,engine,model,accelerator\n\xff\xfe,a,b,c,d\n")
    with pytest.raises(BadInput, match="UTF-8"):
        list(runs(tmp_path / "bytes.csv"))


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*COLUMNS, "remarks", "ttft_ms"]), st.text(max_size=40)))
def test_any_cells_make_a_run_or_an_error_of_ours(cells: dict[str, str]) -> None:
    try:
        run = run_of(dict(ROW, **cells))
    except BadInput:
        assert not cells.get("id", "a-1").strip()
    else:
        assert run.id == (cells.get("id", "a-1")).strip()


def test_blanking_what_was_measured_changes_no_run(shared_data: Path, tmp_path: Path) -> None:
    with open(shared_data / "measurements.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[::40]
    with open(tmp_path / "blank.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(row | dict.fromkeys(MEASURED, "") for row in rows)
    assert list(runs(tmp_path / "blank.csv")) == [run_of(dict(row.items())) for row in rows]
