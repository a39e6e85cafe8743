from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inferwise as iw
from inferwise.catalog.engines import engine
from inferwise.errors import BadInput
from inferwise.memory.allocation import Allocation
from inferwise.memory.case import Case
from inferwise.memory.engines import llama_cpp, ollama
from inferwise.memory.llama_cpp.compute import Part, part_bytes, shortened
from inferwise.memory.llama_cpp.inputs import Shape
from inferwise.memory.llama_cpp.layers import layers_of
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Lora, Settings
from inferwise.spec.hardware import Accelerator, Host, Kind, Node
from inferwise.spec.model import Model
from inferwise.units import GIB, MIB

LLAMA = iw.model("meta-llama/Llama-3.1-8B-Instruct")
MIXTURE = iw.model("Qwen/Qwen3-30B-A3B")


def card(gib: float, **more: Any) -> Accelerator:
    return Accelerator(slug="card", name="card", memory_bytes=int(gib * GIB), vendor="NVIDIA", **more)


def case(model: Model = LLAMA, *, gib: tuple[float, ...] = (24,), build: str | None = None, **more: Any) -> Case:
    chosen = engine("llama.cpp", build)
    fields: dict[str, Any] = {"weights": "Q4_K_M", "layout": chosen.layout, **more}
    if kv := fields.pop("kv", None):
        fields["layout"] = replace(chosen.layout, kv=kv)
    node = fields.pop("node", None) or Node(devices=tuple(card(each) for each in gib))
    return Case(model=model, node=node, engine=chosen, **fields)


def sizes(made: Allocation, name: str) -> list[float]:
    return [round(each.size(name) / MIB, 2) for each in made.devices]


def setting(made: Allocation, name: str) -> tuple[Any, str]:
    return next((value, origin) for key, value, origin in made.settings if key == name)


def test_logs_of_may_2024(shared_data: Path) -> None:
    """KV to the log's rounding, compute buffers within 10 %: every row of the upstream builds."""
    model = iw.model("meta-llama/Meta-Llama-3-8B-Instruct")
    with (shared_data / "memory_logs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "xiongjiedai_llamacpp"]
    seen = 0
    for row in rows:
        cards = re.search(r"_(\d)_v3", row["where"])
        context = int(re.search(r"n_ctx=(\d+)", row["settings"])[1])  # type: ignore[index]
        asked = case(model, gib=(80,) * int(cards[1] if cards else 1), build="b2900", context=context,
                     settings=Settings(gpu_layers=99))  # fmt: skip
        made = llama_cpp.allocate(asked)
        if row["quantity"] == "kv_bytes_per_token":
            assert sum(each.size("kv") for each in made.devices) == float(row["value"]) * context
        elif row["quantity"] == "activation_gib":
            logged = float(re.search(r"([\d.]+) MiB", row["notes"])[1])  # type: ignore[index]
            assert sizes(made, "compute")[0] == pytest.approx(logged, rel=0.001)
        else:
            logged = [float(size) for size in re.findall(r"\('(?!CPU)\w+', ([\d.]+)\)", row["notes"])]
            assert sizes(made, "weights") == pytest.approx(logged, rel=0.035)
        seen += 1
    assert seen == 105


@pytest.mark.parametrize("name", ["google/gemma-3-27b-it", "openai/gpt-oss-20b", "Qwen/Qwen3-Next-80B-A3B-Instruct"])
@pytest.mark.parametrize("flash", [True, False])
def test_a_few_layers_need_as_much_as_all(name: str, flash: bool) -> None:
    layers = layers_of(iw.model(name), "Q8_0")
    shape = Shape(tokens=512, sequences=1, slots=1, outputs=1, cells=8192, window_cells=1536,
                  windowed=any(layers.windowed), flash=flash)  # fmt: skip
    few = shortened(layers.pattern)
    assert len(few) < len(layers.pattern) / 2
    every = part_bytes(layers, shape, Part(layers.pattern, True, True, 64))
    assert part_bytes(layers, shape, Part(few, True, True, 64)) == every


def test_terms_add_up_and_the_embedding_stays_on_the_host() -> None:
    made = llama_cpp.allocate(case(context=8192))
    device = made.devices[0]
    assert device.total_bytes == sum(term.size_bytes for term in device.terms)
    assert device.total_bytes + device.free_bytes == device.capacity_bytes
    assert {term.name for term in made.host} == {"mapped weights", "compute", "output"}
    assert made.fits
    assert made.pool is not None
    assert made.pool.tokens == 8192
    assert made.pool.size_bytes == made.pool.blocks * made.pool.block_bytes == 2**30


def test_layers_split_over_cards_hold_what_one_card_would() -> None:
    flags = Settings(gpu_layers=99)
    one, two = (llama_cpp.allocate(case(gib=gib, settings=flags)) for gib in ((48,), (24, 12)))
    for name in ("weights", "kv"):
        assert sum(each.size(name) for each in two.devices) == one.devices[0].size(name)
    assert two.devices[0].size("kv") > two.devices[1].size("kv")


def test_the_longest_context_and_the_most_slots_fit_and_no_more() -> None:
    for asked in (case(gib=(12,)), case(gib=(10,), settings=Settings(flash_attention=False)), case(gib=(8, 6))):
        asked = replace(asked, settings=replace(asked.settings, gpu_layers=99))
        made = llama_cpp.allocate(asked)
        assert made.max_context is not None
        assert llama_cpp.allocate(replace(asked, context=made.max_context)).fits
        assert not llama_cpp.allocate(replace(asked, context=made.max_context + 257)).fits
        assert llama_cpp.allocate(replace(asked, batch=made.max_batch)).fits
        assert not llama_cpp.allocate(replace(asked, batch=made.max_batch + 1)).fits


def test_fit_offloads_as_many_layers_as_leave_the_margin() -> None:
    made = llama_cpp.allocate(case(gib=(6,)))
    layers, origin = setting(made, "gpu_layers")
    assert origin == "--fit"
    assert 0 < layers < 33
    assert made.devices[0].free_bytes >= 2**30
    more = llama_cpp.allocate(case(gib=(6,), settings=Settings(gpu_layers=layers + 1)))
    assert more.devices[0].free_bytes < 2**30
    assert any("without -c" in note for note in made.notes)


def test_fit_moves_experts_before_layers() -> None:
    made = llama_cpp.allocate(case(MIXTURE, gib=(12,)))
    assert setting(made, "gpu_layers") == (49, "--fit")
    assert 0 < setting(made, "cpu_moe_layers")[0] < 48


def test_without_fit_it_says_what_is_missing() -> None:
    made = llama_cpp.allocate(case(gib=(4,), settings=Settings(fit=False)))
    assert not made.fits
    assert "short of" in made.problems[0]
    assert made.max_batch == 0
    assert made.max_context == 0


def test_more_layers_than_there_are_is_all_of_them() -> None:
    all_of_it = [llama_cpp.allocate(case(settings=Settings(gpu_layers=count))) for count in (33, 10_000)]
    assert sizes(all_of_it[0], "weights") == sizes(all_of_it[1], "weights")


def test_a_cpu_is_its_own_device() -> None:
    cpu = Accelerator(slug="cpu", name="CPU", memory_bytes=32 * GIB, kind=Kind.CPU)
    made = llama_cpp.allocate(case(node=Node(devices=(cpu,))))
    assert made.host == ()
    assert made.fits
    assert {"mapped weights", "repacked weights", "kv", "compute", "output"} <= {t.name for t in made.devices[0].terms}
    plain = llama_cpp.allocate(case(node=Node(devices=(cpu,)), settings=Settings(repack=False)))
    dropped = sum(term.size_bytes for term in made.disk)  # what was repacked is mapped as well until it is dropped
    assert dropped > 0
    weights = sum(made.devices[0].size(name) for name in ("mapped weights", "repacked weights"))
    assert plain.devices[0].size("mapped weights") == weights < weights + dropped


def test_the_hosts_memory_limits_too_where_it_is_known() -> None:
    node = Node(devices=(card(6),), host=Host(memory_bytes=GIB))
    made = llama_cpp.allocate(case(node=node, settings=Settings(gpu_layers=5)))
    assert any(problem.startswith("the host is short") for problem in made.problems)


def test_tensor_parallelism_is_its_split_of_tensors() -> None:
    flags = Settings(gpu_layers=99)
    by_tp, by_split = (
        llama_cpp.allocate(case(gib=(24, 24), parallel=Parallel(tp=tp), settings=replace(flags, split=split)))
        for tp, split in ((2, None), (1, "tensor"))
    )
    assert setting(by_tp, "split") == ("tensor", "given")
    assert sizes(by_tp, "weights") == sizes(by_split, "weights")
    assert sizes(by_tp, "kv")[0] == sizes(by_tp, "kv")[1]
    with pytest.raises(BadInput, match="no ep"):
        llama_cpp.allocate(case(gib=(24, 24), parallel=Parallel(tp=2, ep=2)))


@pytest.mark.parametrize("weights", ["fp8", "nvfp4", "awq", "int4", "nf4"])
def test_formats_that_it_cannot_run(weights: str) -> None:
    with pytest.raises(BadInput, match="GGUF format"):
        llama_cpp.allocate(case(weights=weights))


@pytest.mark.parametrize(
    "more", [{"kv": "fp8"}, {"kv": "q8_0", "settings": Settings(flash_attention=False)}, {"batch": 1000},
             {"settings": Settings(tensor_split=(1.0, 2.0))}]
)  # fmt: skip
def test_settings_that_it_cannot_run(more: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        llama_cpp.allocate(case(**more))


def test_what_stands_beside_the_model() -> None:
    plain = llama_cpp.allocate(case(gib=(80,)))
    draft = iw.model("meta-llama/Llama-3.2-1B-Instruct")
    more = llama_cpp.allocate(
        case(gib=(80,), draft=draft, draft_weights="Q8_0", speculative_tokens=4, lora=Lora(slots=2, rank=16))
    )
    linear = sum(  # inputs and outputs of q, k, v, o, gate, up, down
        sum(pair) for pair in ((4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096), *[(4096, 14336)] * 3)
    )
    assert more.devices[0].size("lora") == 2 * 4 * 16 * 32 * linear
    assert more.devices[0].size("draft") > layers_of(draft, "Q8_0").total
    assert more.devices[0].size("weights") == plain.devices[0].size("weights")


def test_an_image_tower_counts_unless_text_is_all() -> None:
    model = iw.model("google/gemma-3-27b-it")
    seen, unseen = (llama_cpp.allocate(case(model, encoder=encoder)) for encoder in (True, False))
    assert seen.devices[0].size("projector") > 500 * MIB
    assert unseen.devices[0].size("projector") == 0


def test_ollama_runs_the_same_buffers() -> None:
    own = engine("ollama")
    asked = case(gib=(24,))
    made = ollama.allocate(replace(asked, engine=own, layout=own.layout))
    theirs = llama_cpp.allocate(case(gib=(24,), build=own.defaults["llama_cpp"], settings=Settings(gpu_layers=99)))
    assert sizes(made, "kv") == sizes(theirs, "kv")
    assert sizes(made, "weights") == sizes(theirs, "weights")
    assert made.case.engine.name == "ollama"
    small = ollama.allocate(replace(case(gib=(4,)), engine=own, layout=own.layout))
    assert 0 < setting(small, "gpu_layers")[0] < 33
    assert small.fits


@given(
    context=st.integers(1, 300_000),
    batch=st.integers(1, 8),
    build=st.sampled_from(("b2900", "b5863", "b6077", "b11549")),
    flash=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_more_context_or_sequences_never_take_less(context: int, batch: int, build: str, flash: bool) -> None:
    flags = Settings(gpu_layers=99, flash_attention=flash)
    now, longer, wider = (
        llama_cpp.allocate(case(build=build, context=c, batch=b, settings=flags)).devices[0].total_bytes
        for c, b in ((context, batch), (context + 256, batch), (context, batch + 1))
    )
    assert now <= longer
    assert now <= wider
