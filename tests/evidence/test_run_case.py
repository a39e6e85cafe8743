from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.evidence.measurements import COLUMNS, Run, runs
from inferwise.evidence.run_case import Question, question
from inferwise.evidence.run_names import Unpredicted, names
from inferwise.memory.placement import stages
from inferwise.spec.deployment import Parallel
from inferwise.spec.workload import MAX_REQUESTS, Workload
from inferwise.timing.deploy import forward

SERVED: dict[str, Any] = {
    "id": "s",
    "protocol": "closed_loop",
    "engine": "vllm",
    "engine_version": "0.19.0",
    "model": "Qwen/Qwen3-32B",
    "weight_format": "native",
    "accelerator": "h100-sxm-80gb",
    "devices": "4",
    "tp": "4",
    "pp": "1",
    "isl": "1024",
    "osl": "512",
    "concurrency": "16",
}
LOCAL: dict[str, Any] = {
    "id": "l",
    "protocol": "single_stream",
    "engine": "llama.cpp",
    "backend": "vulkan",
    "engine_version": "b6077",
    "model": "Qwen/Qwen3-30B-A3B",
    "model_as_published": "Qwen3-30B-A3B-UD-Q4_K_XL.gguf",
    "weight_format": "q4_k_xl",
    "kv_format": "f16",
    "accelerator": "ryzen-ai-max-395",
    "devices": "1",
    "isl": "0",
    "osl": "128",
    "concurrency": "1",
}
LLAMA_2 = {"model": "meta-llama/Llama-2-7b-hf", "model_as_published": "llama-2-7b.Q4_K_M.gguf"}


def served(**given: Any) -> Question:
    return question(Run(**{**SERVED, **given}))


def local(**given: Any) -> Question:
    return question(Run(**{**LOCAL, **given}))


def test_a_closed_loop_is_a_case_and_its_load() -> None:
    asked = served()
    assert asked.workload == Workload(protocol="closed_loop", input=1024, output=512, concurrency=16)
    assert (asked.case.parallel, asked.case.context, asked.case.batch) == (Parallel(tp=4), 1536, 16)
    assert (asked.case.engine.name, asked.case.engine.version, asked.case.weights) == ("vllm", "0.19.0", None)
    assert [each.slug for each in asked.case.devices] == ["h100-sxm-80gb"] * 4
    assert (asked.replicas, asked.notes, asked.extrapolated, asked.backend) == (1, (), (), "")


@pytest.mark.parametrize(
    ("given", "parallel", "replicas"),
    [
        ({"tp": "2", "ep": "4", "dp": "2"}, Parallel(tp=4, ep=4, dp=2), 1),  # published tp is of one attention rank
        ({"tp": "1", "ep": "1", "dp": "4", "moe_tp": "4"}, Parallel(tp=4, dp=4), 1),
        ({"tp": "4", "ep": "2", "dp": "1", "moe_tp": "2"}, Parallel(tp=4, ep=2), 1),
        ({"tp": "4", "ep": "0", "dp": "0"}, Parallel(tp=4), 1),
        ({"tp": "1", "ep": "4", "dp": "1"}, Parallel(tp=4, ep=4), 1),  # ML.ENERGY gives expert ranks with tp 1
        ({"tp": "2", "pp": "2"}, Parallel(tp=2, pp=2), 1),
        ({"tp": "", "pp": ""}, Parallel(tp=4), 1),
        ({"tp": "1"}, Parallel(), 4),
        ({"tp": "2"}, Parallel(tp=2), 2),
        ({"tp": "2", "devices": "2", "dp": "0", "batch_per_replica": "4"}, Parallel(tp=2), 4),  # behind a router
        ({"tp": "1", "ep": "4", "dp": "4", "batch_per_replica": "4"}, Parallel(tp=4, ep=4, dp=4), 1),
    ],
)
def test_degrees_are_counted_over_the_whole_group(given: dict[str, str], parallel: Parallel, replicas: int) -> None:
    asked = served(model="Qwen/Qwen3-30B-A3B", **given)
    assert (asked.case.parallel, asked.replicas) == (parallel, replicas)
    assert asked.case.batch == -(-16 // replicas)
    assert len(asked.case.devices) == parallel.devices


@pytest.mark.parametrize(
    ("dealt", "parallel"),
    [
        ("TP", Parallel(tp=4)),
        ("PP", Parallel(pp=4)),
        ("Pipeline Parallelism", Parallel(pp=4)),
        ("EP", Parallel(tp=4, ep=4)),
        ("Hybrid TP = 2 and EP = 2", Parallel(tp=4, ep=2)),
    ],
)
def test_remarks_may_tell_how_experts_and_layers_were_dealt(dealt: str, parallel: Parallel) -> None:
    asked = served(model="mistralai/Mixtral-8x7B-v0.1", tp="", pp="", facts=(("dealt", dealt),))
    assert asked.case.parallel == parallel


@pytest.mark.parametrize(
    ("model", "spelled", "engine", "weights", "default", "attention"),
    [
        ("meta-llama/Llama-3.1-70B", "fp8", "vllm", "fp8", None, "fp8"),  # a scale a tensor
        ("Qwen/Qwen3-32B", "fp8", "vllm", None, "fp8_block", "fp8_block"),
        ("Qwen/Qwen3-235B-A22B", "fp8", "tensorrt-llm", "fp8", None, "fp8"),
        ("deepseek-ai/DeepSeek-R1", "fp8", "sglang", "fp8", "fp8_block", "fp8_block"),
        ("deepseek-ai/DeepSeek-R1", "nvfp4", "tensorrt-llm", None, "nvfp4", "bf16"),  # NVIDIA leaves attention alone
        ("openai/gpt-oss-120b", "mxfp4", "vllm", "mxfp4", "mxfp4", "bf16"),
        ("meta-llama/Llama-3.1-70B", "nvfp4", "vllm", "nvfp4", None, "nvfp4"),
    ],
)
def test_formats_are_those_of_the_checkpoints_that_ran(
    model: str, spelled: str, engine: str, weights: str | None, default: str | None, attention: str
) -> None:
    case = served(model=model, weight_format=spelled, engine=engine, engine_version="", tp="4").case
    quantised = case.model.quantization
    assert case.weights == weights
    assert (quantised.default.name if quantised and quantised.default else None) == default
    (stage,) = stages(case.model, case.weights, case.parallel)
    held = Counter[str]()
    for each in stage.tensors:
        if each.component == "attention":
            held[each.format.name] += each.size_bytes
    assert held.most_common(1)[0][0] == attention


@pytest.mark.parametrize(
    ("model", "published", "spelled", "gib"),
    [  # sizes of the files as llama-bench prints them
        ("openai/gpt-oss-120b", "gpt-oss-120b-F16.gguf", "mxfp4", 60.87),
        ("openai/gpt-oss-20b", "gpt-oss-20b-mxfp4", "mxfp4", 11.27),
        ("Qwen/Qwen3-32B", "Qwen3-32B-Q8_0.gguf", "q8_0", 32.42),
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b.Q4_K_M.gguf", "q4_k_m", 3.80),
        ("meta-llama/Llama-3.1-8B-Instruct", "shisa-v2-llama3.1-8b.i1-Q4_K_M.gguf", "q4_k_m", 4.58),
        ("google/gemma-4-31B-it", "gemma-4-31B-it-BF16", "bf16", 57.18),
        ("meta-llama/Llama-2-7b-hf", "Llama2-7B", "q4_0", 3.56),  # by its format alone
    ],
)
def test_gguf_mixes_are_those_of_the_files(model: str, published: str, spelled: str, gib: float) -> None:
    case = local(model=model, model_as_published=published, weight_format=spelled).case
    (stage,) = stages(case.model, case.weights, case.parallel, encoder=case.encoder)
    assert stage.weights.total / 2**30 == pytest.approx(gib, abs=0.01)


def test_llama_bench_has_a_backend_flags_and_a_depth() -> None:
    facts = (("flash_attention", "False"), ("ubatch", "256"), ("depth", "8192"), ("file_gib", "16.49"))
    decode = local(isl="8192", facts=facts)
    assert (decode.backend, decode.case.engine.version, decode.case.layout.kv) == ("vulkan", "b6077", "fp16")
    assert (decode.case.settings.flash_attention, decode.case.settings.ubatch) == (False, 256)
    assert (decode.workload.input, decode.workload.output, decode.workload.prefix) == (8192, 128, 0)
    assert decode.file_bytes == round(16.49 * 2**30)
    prompt = local(isl="10240", osl="0", facts=facts)
    assert (prompt.workload.input, prompt.workload.prefix, prompt.workload.output) == (10240, 8192, 0)
    empty = local()
    assert (empty.workload.input, empty.workload.output, empty.case.settings.flash_attention) == (1, 128, None)
    assert empty.file_bytes is None


def test_engines_without_a_profile_have_a_stand_in() -> None:
    asked = served(engine="deepspeed", engine_version="")
    assert (asked.case.engine.name, asked.extrapolated) == ("vllm", ("engine",))
    assert any(note.startswith("generic profile") for note in asked.notes)
    layers = served(engine="exllamav2", weight_format="exl2-4.0bpw", protocol="single_stream", tp="1", pp="4")
    assert (layers.case.engine.name, layers.backend, len(layers.case.devices)) == ("llama.cpp", "", 4)
    assert (layers.case.parallel, layers.replicas) == (Parallel(), 1)


def test_llama_bench_has_every_layer_on_the_devices() -> None:
    """Builds of 2023 left all on the host unless told; no benchmark ran so."""
    old = local(engine_version="b1380", accelerator="rtx-4090", backend="cuda", weight_format="q4_k_m", **LLAMA_2)
    assert old.case.engine.defaults["gpu_layers"] == 0
    on_host = [each for stage in forward(old.case, backend="cuda").stages for each in stage if each.part == "host"]
    assert on_host == []


def test_a_version_that_is_no_release_is_its_sources() -> None:
    assert served(engine_version="1.2.0rc2.post2", engine="tensorrt-llm").case.engine.version == "1.2.0rc2.post2"
    assert served(engine_version="0.12.0 (0.13 tree)", engine="tensorrt-llm").case.engine.version == "0.12.0"
    assert served(engine_version="1.1/1.2 (main)", engine="tensorrt-llm").case.engine.version == "1.1"
    asked = served(engine_version="nightly", source="inferencex_token_position")
    assert asked.case.engine.version == "0.16.0"
    assert asked.notes == ("vllm 0.16.0 assumed: the row names no release",)
    assert local(engine_version="c264f65ff").case.engine.version.startswith("b")


def test_flags_of_the_sources_scripts_stand_where_the_row_is_silent() -> None:
    given = {"source": "aiconfigurator_silicon_sample", "campaign": "inferencex", "model": "openai/gpt-oss-120b"}
    hopper = served(**given, weight_format="mxfp4")
    blackwell = served(**given, weight_format="mxfp4", accelerator="b200-sxm-180gb")
    assert (hopper.case.layout.kv, blackwell.case.layout.kv) == ("bf16", "fp8")
    assert hopper.case.settings.max_num_batched_tokens == blackwell.case.settings.max_num_batched_tokens == 8192
    assert served(**given, weight_format="mxfp4", kv_format="fp16", accelerator="b200").case.layout.kv == "fp16"
    assert served(**{**given, "campaign": "nvidia-gap-analysis"}).case.settings.max_num_batched_tokens is None


def test_lengths_that_a_source_does_not_tell_are_assumed_and_say_so() -> None:
    asked = served(protocol="steady_batch", isl="", osl="395.6", concurrency="15.98", facts=(("task", "image-chat"),))
    assert (asked.workload.output, asked.workload.concurrency, asked.workload.images) == (396, 16, 1)
    assert (asked.extrapolated, asked.input_range) == (("input",), (300, 4000))
    assert "assumed for image-chat" in " ".join(asked.notes)


def test_everything_queued_is_as_much_as_can_be() -> None:
    asked = served(protocol="offline", concurrency="max")
    assert (asked.workload.concurrency, asked.case.batch) == (MAX_REQUESTS, 1)


def test_a_cached_context_leaves_a_token_of_the_prompt() -> None:
    asked = served(isl="16384", facts=(("cached", "decode-only"),))
    assert (asked.workload.input, asked.workload.prefix) == (16384, 16383)
    assert served(isl="0", facts=(("cached", "decode-only"),)).workload.prefix == 0


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"protocol": "server"}, "unsupported: server"),
        ({"protocol": "open_loop"}, "unsupported: open_loop"),
        ({"protocol": ""}, "missing-input"),
        ({"model": "nobody/nothing-7B"}, "unknown-model"),
        ({"model": ""}, "missing-input"),
        ({"accelerator": "h999"}, "unknown-device"),
        ({"accelerator": ""}, "missing-input"),
        ({"engine": "my-engine"}, "unknown-engine"),
        ({"isl": ""}, "missing-input"),
        ({"isl": "many"}, "missing-input"),
        ({"isl": "-5"}, "missing-input"),
        ({"osl": "nan"}, "missing-input"),
        ({"concurrency": ""}, "missing-input"),
        ({"concurrency": "max"}, "missing-input"),
        ({"devices": "4.5"}, "missing-input"),
        ({"weight_format": "q9"}, "unsupported: weights q9"),
        ({"kv_format": "q9"}, "unsupported: kv q9"),
        ({"tp": "4", "ep": "3"}, "unsupported: ep 3 does not divide tp 4"),
    ],
)
def test_what_cannot_be_predicted_has_a_status(given: dict[str, str], status: str) -> None:
    with pytest.raises(Unpredicted) as caught:
        served(**given)
    assert caught.value.status == status


@settings(max_examples=150)
@given(
    st.sampled_from([SERVED, LOCAL]),
    st.dictionaries(
        st.sampled_from([name for name in COLUMNS if name not in ("id", "protocol")]),
        st.one_of(st.text(max_size=12), st.integers(-2, 10**12).map(str), st.sampled_from(["nan", "inf", "1e99"])),
        max_size=3,
    ),
)
def test_any_cells_are_a_question_or_have_a_status(base: dict[str, Any], cells: dict[str, str]) -> None:
    statuses: list[str] = []
    try:
        asked = question(Run(**{**base, **cells}))
    except Unpredicted as refused:
        statuses.append(refused.status)
    else:
        assert asked.replicas >= 1
        assert asked.case.context == asked.workload.prompt + asked.workload.output
    assert all(each.startswith(("unknown-", "missing-input", "unsupported: ")) for each in statuses)


def test_every_name_of_the_table_leads_somewhere() -> None:
    table = names()
    for name in table["engines"]:
        assert served(engine=name, engine_version="", weight_format="fp16", protocol="static_batch").extrapolated
    for spelled in table["weights"]["gguf"]:
        assert local(weight_format=spelled, model_as_published="").case.weights
    for entry in (*table["checkpoints"], *table["setups"]):
        assert entry["models"]
    for source, versions in table["versions"].items():
        for engine, version in versions.items():
            found = served(engine=engine, engine_version="", source=source, weight_format="fp16")
            assert found.case.engine.version == version


def test_the_measured_runs_are_covered(shared_data: Path) -> None:
    """Of 10,899 rows: those that are asked, and why the others are not."""
    asked: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for run in runs(shared_data / "measurements.csv"):
        try:
            found = question(run)
        except Unpredicted as error:
            refused[error.status] += 1
        else:
            asked[run.protocol] += 1
            single = found.case.engine.name == "llama.cpp"
            assert len(found.case.devices) == (int(run.devices) if single else found.case.parallel.devices)
    assert asked["closed_loop"] == 1490 + 117 + 240
    assert asked["single_stream"] == 4040
    assert asked["static_batch"] == 2381
    assert set(refused) <= {
        "unsupported: open_loop", "unsupported: server", "missing-input",
    }  # fmt: skip
    assert asked["closed_loop_disagg"] == 106 + 8  # of 400: those that tell their workers, or have one request
    assert refused["missing-input"] == 151 + 286  # MLPerf's offline rows tell no lengths; disaggregated, no workers


DISAGGREGATED: dict[str, Any] = {
    "protocol": "closed_loop_disagg",
    "engine": "tensorrt-llm",
    "engine_version": "1.2.0rc6",
    "model": "deepseek-ai/DeepSeek-V3",
    "accelerator": "b200-sxm-180gb",
    "devices": "44",
    "tp": "P1/D8",
    "pp": "P1/D1",
    "ep": "P4/D8",
    "dp": "P4/D1",
    "concurrency": "25",
}


def test_a_disaggregated_run_has_workers_of_either_side() -> None:
    asked = served(**DISAGGREGATED, facts=(("workers", "prefill x1 bs1, decode x5"),))
    assert asked.prefill is not None
    assert asked.prefill.parallel == Parallel(tp=4, ep=4, dp=4)
    assert asked.case.parallel == Parallel(tp=8, ep=8)
    assert (asked.workers, asked.replicas, asked.case.batch) == ((1, 5), 1, 5)
    assert asked.workload == Workload(protocol="closed_loop", input=1024, output=512, concurrency=25)
    assert (asked.prefill.model, asked.prefill.engine) == (asked.case.model, asked.case.engine)


@pytest.mark.parametrize(
    ("given", "facts", "workers"),
    [
        ({}, (("workers", "prefill x3 bs1, decode x4"),), (3, 4)),
        ({"concurrency": "1"}, (("workers", "prefill x bs, decode x"),), (1, 1)),
        ({"concurrency": "1", "devices": ""}, (), (1, 1)),
        ({"devices": "12"}, (), (1, 1)),
        ({"devices": "16"}, (), (2, 1)),
        ({"devices": "44"}, (), None),  # 1 and 5, 3 and 4, ...
        ({"devices": "11"}, (), None),
        ({"devices": ""}, (), None),
        ({"devices": "12"}, (("workers", "prefill x bs, decode x"),), None),  # such a source gives one worker of each
        ({}, (("workers", "prefill x0 bs1, decode x4"),), None),
        ({"tp": "8/8"}, (("workers", "prefill x1 bs1, decode x4"),), None),
    ],
)
def test_workers_are_told_or_follow_from_the_devices(
    given: dict[str, str], facts: tuple[tuple[str, str], ...], workers: tuple[int, int] | None
) -> None:
    asked = {**DISAGGREGATED, **given, "facts": facts}
    if workers is None:
        with pytest.raises(Unpredicted) as raised:
            served(**asked)
        assert raised.value.status == "missing-input"
    else:
        assert served(**asked).workers == workers


def test_a_framework_names_the_engine_that_its_image_holds() -> None:
    asked = {**DISAGGREGATED, "concurrency": "1", "campaign": "nvidia-dynamo", "engine_version": "0.8.1.post2"}
    assert served(**asked).case.engine.version.startswith("1.2.0")
    assert served(**{**asked, "campaign": ""}).case.engine.version.startswith("0.8.1")
