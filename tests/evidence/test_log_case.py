from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from tests.evidence.logs.test_lines import NAMES
from tests.evidence.logs.test_llama_cpp import HYBRID, NEW, OLD
from tests.evidence.logs.test_vllm import LOGS
from tests.read.mutate import mutations

from inferwise.errors import BadInput, InferwiseError, UnknownName
from inferwise.evidence.log_case import case_of
from inferwise.evidence.logs import parse_log, read_log
from inferwise.evidence.logs.engine_log import EngineLog, LogDevice, LogTerm
from inferwise.units import GIB, MIB


def test_a_vllm_log_gives_its_own_flags_and_memory() -> None:
    case = case_of(read_log(LOGS / "vllm_v1.log"))
    assert case.model.name == "Qwen/Qwen2.5-7B-Instruct"
    assert (case.engine.name, case.engine.version, case.engine.basis) == ("vllm", "0.19.0", "0.19.0")
    assert (case.context, case.batch, case.weights, case.layout.kv) == (8192, 1, None, "bf16")
    assert case.settings.gpu_memory_utilization == 0.95
    assert (case.settings.max_num_seqs, case.settings.max_num_batched_tokens) == (1024, 8192)
    assert [device.capacity_bytes for device in case.devices] == [round(79.19 * GIB)]


def test_ranks_and_their_device_by_the_name_in_a_kernels_file() -> None:
    case = case_of(read_log(LOGS / "vllm_v1_tp2.log"))
    assert [device.slug for device in case.devices] == ["h100-sxm-80gb"] * 2
    assert (case.parallel.tp, case.parallel.ep) == (2, 2)
    assert case.layout.kv == "fp8"
    assert case.settings.max_num_seqs is None  # the log does not say: the version's default


def test_the_users_model_and_device_come_first() -> None:
    case = case_of(read_log(LOGS / "vllm_v1.log"), model="meta-llama/Llama-3.1-8B-Instruct", gpu="h200-sxm-141gb")
    assert case.model.name == "meta-llama/Llama-3.1-8B-Instruct"
    assert case.devices[0].slug == "h200-sxm-141gb"
    assert case.devices[0].capacity_bytes == round(79.19 * GIB)  # as the log's driver says


def test_an_sglang_log_needs_the_device_named() -> None:
    log = read_log(LOGS / "sglang_tp2.log")
    with pytest.raises(BadInput, match="--gpu"):
        case_of(log)
    case = case_of(log, gpu="h100-sxm-80gb")
    assert (case.parallel.tp, case.context, len(case.devices)) == (2, 32768, 2)
    assert case.settings.gpu_memory_utilization == 0.865


def test_a_llama_cpp_log_gives_devices_slots_and_format() -> None:
    case = case_of(parse_log(NEW))
    assert case.model.name == "Qwen/Qwen2.5-7B-Instruct"
    assert [device.slug for device in case.devices] == ["rtx-3090", "rtx-3060-12gb"]
    assert [device.capacity_bytes for device in case.devices] == [24124 * MIB, 12288 * MIB]
    assert (case.context, case.batch, case.weights, case.layout.kv) == (8192, 4, "q4_k_m", "q8_0")
    assert (case.settings.ubatch, case.settings.gpu_layers, case.settings.fit) == (1024, 29, False)
    assert (case.settings.parallel_slots, case.settings.flash_attention) == (4, True)


def test_a_model_that_the_log_does_not_tell_is_asked_for() -> None:
    with pytest.raises(BadInput, match="--model"):
        case_of(parse_log(OLD))
    case = case_of(parse_log(OLD), model="meta-llama/Llama-3.1-8B-Instruct")
    assert (case.weights, case.settings.gpu_layers, case.devices[0].slug) == ("q8_0", 20, "v100-pcie-16gb")


def test_a_cpu_that_the_catalog_lacks_is_taken_as_the_log_has_it() -> None:
    text = HYBRID.replace(
        "load_tensors:", "device_info:\n  - CPU     : Some Processor 9000 (24105 MiB, 24000 MiB free)\nload_tensors:", 1
    )
    case = case_of(parse_log(text), model="Qwen/Qwen2.5-7B-Instruct")
    assert [(device.kind.value, device.name, device.capacity_bytes) for device in case.devices] == [
        ("cpu", "Some Processor 9000", 24105 * MIB)
    ]


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ("/x/huggingface/hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/ab12/", "Qwen/Qwen2.5-7B-Instruct"),
        ("/mnt/models/Qwen2.5-7B-Instruct/", "Qwen/Qwen2.5-7B-Instruct"),
        ("C:\\models\\Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen/qwen2.5-7b-instruct", "Qwen/Qwen2.5-7B-Instruct"),
    ],
)
def test_what_a_log_calls_its_model(named: str, model: str) -> None:
    text = (LOGS / "vllm_v1.log").read_text().replace("Qwen/Qwen2.5-7B-Instruct", named)
    assert case_of(parse_log(text)).model.name == model


@pytest.mark.parametrize(
    ("version", "taken"),
    [("0.19.2rc1.dev8+g4b7f5ea1a.d20260108", "0.19.2"), ("0.0.0.dev1+g5f55db35e", None), ("garbage", None)],
)
def test_development_versions(version: str, taken: str | None) -> None:
    case = case_of(log_of(version=version))
    assert case.engine.version == (taken or case.engine.basis)


def log_of(**facts: object) -> EngineLog:
    known: dict[str, object] = {
        "engine": "vllm",
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "devices": (LogDevice(label="", total_bytes=80 * GIB),),
        "terms": (LogTerm(name="weights", device="", size_bytes=GIB, resolution_bytes=1, line=1),),
    }
    return EngineLog(**(known | facts))  # type: ignore[arg-type]


def test_quantisation_at_load_is_a_conversion_and_a_checkpoints_own_is_not() -> None:
    assert case_of(log_of(weights="fp8")).weights == "fp8"
    assert case_of(log_of(weights="compressed-tensors")).weights is None
    assert case_of(log_of(weights="fp8", model="deepseek-ai/DeepSeek-V3", tp=8)).weights is None


def test_data_parallel_attention_lies_inside_the_group() -> None:
    assert case_of(log_of(tp=2, dp=4)).parallel.devices == 2  # replicas
    dealt = case_of(log_of(tp=2, dp=4, ep=8)).parallel
    assert (dealt.tp, dealt.dp, dealt.ep) == (8, 4, 8)
    dealt = case_of(log_of(engine="sglang", tp=8, dp=8, dp_attention=True)).parallel
    assert (dealt.tp, dealt.dp) == (8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_mutated_logs_raise_nothing_of_their_own(name: str) -> None:
    sound = (LOGS / name).read_bytes()

    @settings(max_examples=60)
    @given(mutations(sound, len(sound)))
    def check(data: bytes) -> None:
        with contextlib.suppress(InferwiseError):
            log = parse_log(data.decode("utf-8", "replace"))
            case = case_of(log, model="Qwen/Qwen2.5-7B-Instruct", gpu="h100-sxm-80gb")
            assert len(case.devices) == case.parallel.devices

    check()


def test_wrong_names_are_the_users_mistakes() -> None:
    log = read_log(LOGS / "vllm_v1.log")
    with pytest.raises(UnknownName):
        case_of(log, gpu="h1000")
    with pytest.raises(BadInput):
        case_of(log, model="no-such-model")
