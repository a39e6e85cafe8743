from __future__ import annotations

from pathlib import Path

import pytest

from inferwise.evidence.logs import parse_log, read_log
from inferwise.evidence.logs.llama_cpp import is_host, used_devices
from inferwise.units import GIB, MIB

REAL = sorted((Path(__file__).parents[2] / "data" / "logs").glob("llama_cpp_*.log"))
ROUNDING = MIB // 100

NEW = """\
ggml_cuda_init: found 2 CUDA devices (Total VRAM: 36412 MiB):
  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes, VRAM: 24124 MiB
  Device 1: NVIDIA GeForce RTX 3060, compute capability 8.6, VMM: yes, VRAM: 12288 MiB
build: 7412 (3f1a2b4cd) with cc (Ubuntu 13.3.0) 13.3.0 for x86_64-linux-gnu
llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 3090) (0000:01:00.0) - 23306 MiB free
llama_model_load_from_file_impl: using device CUDA1 (NVIDIA GeForce RTX 3060) (0000:02:00.0) - 11800 MiB free
llama_model_loader: loaded meta data with 33 key-value pairs and 339 tensors from /m/Qwen2.5-7B-Instruct-Q4_K_M.gguf \
(version GGUF V3 (latest))
print_info: file format = GGUF V3 (latest)
print_info: file type   = Q4_K - Medium
print_info: file size   = 4.36 GiB (4.91 BPW)
print_info: no_alloc              = 0
print_info: general.name          = Qwen2.5 7B Instruct
load_tensors: offloaded 29/29 layers to GPU
load_tensors:   CPU_Mapped model buffer size =   292.36 MiB
load_tensors:        CUDA0 model buffer size =  2787.45 MiB
load_tensors:        CUDA1 model buffer size =  1380.64 MiB
llama_context: constructing llama_context
llama_context: n_seq_max     = 4
llama_context: n_ctx         = 32768
llama_context: n_ctx_seq     = 8192
llama_context: n_batch       = 2048
llama_context: n_ubatch      = 1024
llama_context: flash_attn    = auto
llama_context: kv_unified    = false
llama_context: n_ctx_seq (8192) < n_ctx_train (32768) -- the full capacity of the model will not be utilized
llama_context:  CUDA_Host  output buffer size =     2.32 MiB
llama_kv_cache:      CUDA0 KV buffer size =   578.00 MiB
llama_kv_cache:      CUDA1 KV buffer size =   374.00 MiB
llama_kv_cache: size =  952.00 MiB (  8192 cells,  28 layers,  4/4 seqs), K (q8_0):  476.00 MiB, V (q8_0):  476.00 MiB
llama_context:      CUDA0 compute buffer size =   400.00 MiB
llama_context: Flash Attention was auto, set to enabled
llama_context:      CUDA0 compute buffer size =   210.04 MiB
llama_context:      CUDA1 compute buffer size =   304.75 MiB
llama_context:  CUDA_Host compute buffer size =    76.05 MiB
"""
OLD = """\
main: build = 3014 (0548a417)
ggml_cuda_init: found 1 CUDA devices:
  Device 0: Tesla V100-PCIE-16GB, compute capability 7.0, VMM: yes
llama_model_loader: loaded meta data with 22 key-value pairs and 291 tensors from models/llama-8b.Q8_0.gguf (version \
GGUF V3 (latest))
llm_load_print_meta: model ftype      = Q8_0
llm_load_print_meta: model size       = 7.95 GiB (8.50 BPW)
llm_load_print_meta: general.name     = Meta-Llama-3-8B
llm_load_tensors: offloading 20 repeating layers to GPU
llm_load_tensors: offloaded 20/33 layers to GPU
llm_load_tensors:        CPU buffer size =  8137.64 MiB
llm_load_tensors:      CUDA0 buffer size =  4441.25 MiB
llama_new_context_with_model: n_ctx      = 8192
llama_new_context_with_model: n_batch    = 2048
llama_new_context_with_model: n_ubatch   = 512
llama_new_context_with_model: flash_attn = 0
llama_kv_cache_init:  CUDA_Host KV buffer size =   384.00 MiB
llama_kv_cache_init:      CUDA0 KV buffer size =   640.00 MiB
llama_new_context_with_model: KV self size  = 1024.00 MiB, K (f16):  512.00 MiB, V (f16):  512.00 MiB
llama_new_context_with_model:  CUDA_Host  output buffer size =     0.49 MiB
llama_new_context_with_model:      CUDA0 compute buffer size =  1088.45 MiB
llama_new_context_with_model:  CUDA_Host compute buffer size =    24.01 MiB
"""
HYBRID = """\
llama_model_loader: loaded meta data with 9 key-value pairs and 9 tensors from h.gguf (version GGUF V3 (latest))
load_tensors:   CPU_Mapped model buffer size =    10.00 MiB
load_tensors:   CPU_REPACK model buffer size =     8.00 MiB
0.27.248.242 I llama_context: n_ctx         = 4096
0.27.252.249 I llama_context:        CPU  output buffer size =     0.95 MiB
0.27.253.065 I llama_kv_cache:        CPU KV buffer size =     2.00 MiB
0.27.253.066 I llama_kv_cache: size =    2.00 MiB (  4096 cells,   1 layers,  1/1 seqs), K (f16): 1.00 MiB, V (f16): 1.00 MiB
0.27.253.070 I llama_kv_cache:        CPU KV buffer size =     2.50 MiB
0.27.253.071 I llama_kv_cache: size =    2.50 MiB (  1024 cells,   5 layers,  1/1 seqs), K (f16): 1.25 MiB, V (f16): 1.25 MiB
0.27.795.572 I llama_memory_recurrent:        CPU RS buffer size =    20.94 MiB
0.27.840.260 I llama_memory_recurrent: size =   20.94 MiB (     1 cells,  32 layers,  1 seqs  0 rs_seq), R (f32): 0.94 MiB, S (f32): 20.00 MiB
0.29.349.248 I sched_reserve:        CPU compute buffer size =    98.00 MiB
"""  # noqa: E501
TABLE = """\
llama_model_loader: loaded meta data with 9 key-value pairs and 9 tensors from h.gguf (version GGUF V3 (latest))
llama_memory_breakdown_print: | memory breakdown [MiB] | total   free     self   model   context   compute    unaccounted |
llama_memory_breakdown_print: |   - CUDA0 (RTX 5090)   | 32606 = 1057 + (29365 = 28609 +     397 +     358) +        2183 |
llama_memory_breakdown_print: |   - Host               |                 30956 = 30940 +       0 +      16                |
"""  # noqa: E501


def mib(number: float) -> tuple[int, int]:
    return round(number * MIB), ROUNDING


def test_a_log_of_two_devices() -> None:
    log = parse_log(NEW)
    assert (log.engine, log.version, log.model_name) == ("llama.cpp", "b7412", "Qwen2.5 7B Instruct")
    assert (log.model, log.weights) == ("/m/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "Q4_K - Medium")
    assert log.sizes("weights") == {"CPU_Mapped": mib(292.36), "CUDA0": mib(2787.45), "CUDA1": mib(1380.64)}
    assert log.sizes("kv") == {"CUDA0": mib(578), "CUDA1": mib(374)}
    assert log.sizes("compute") == {"CUDA0": mib(210.04), "CUDA1": mib(304.75), "CUDA_Host": mib(76.05)}  # the last
    assert log.sizes("output") == {"CUDA_Host": mib(2.32)}
    assert log.sizes("file") == {"": (round(4.36 * GIB), GIB // 100)}
    assert (log.context, log.max_num_seqs, log.max_num_batched_tokens, log.ubatch) == (32768, 4, 2048, 1024)
    assert log.kv_tokens == 4 * 8192
    assert (log.flash_attention, log.kv_unified, log.kv_format) == (True, False, "q8_0")
    assert (log.gpu_layers, log.layers) == (29, 29)
    devices = {each.label: (each.name, each.total_bytes, each.free_bytes) for each in log.devices}
    assert devices == {
        "CUDA0": ("NVIDIA GeForce RTX 3090", 24124 * MIB, 23306 * MIB),
        "CUDA1": ("NVIDIA GeForce RTX 3060", 12288 * MIB, 11800 * MIB),
    }
    assert [each.label for each in used_devices(log)] == ["CUDA0", "CUDA1"]
    assert log.unread == ()


def test_the_format_of_2024() -> None:
    log = parse_log(OLD)
    assert (log.version, log.weights, log.model_name) == ("b3014", "Q8_0", "Meta-Llama-3-8B")
    assert log.sizes("weights") == {"CPU": mib(8137.64), "CUDA0": mib(4441.25)}
    assert log.sizes("kv") == {"CUDA_Host": mib(384), "CUDA0": mib(640)}
    assert log.sizes("compute") == {"CUDA0": mib(1088.45), "CUDA_Host": mib(24.01)}
    assert (log.flash_attention, log.gpu_layers, log.layers, log.kv_format) == (False, 20, 33, "fp16")
    assert [each.name for each in used_devices(log)] == ["Tesla V100-PCIE-16GB"]


def test_caches_of_two_kinds_add_up_and_a_recurrent_state_stands_apart() -> None:
    log = parse_log(HYBRID)
    assert log.sizes("kv") == {"CPU": (round(4.5 * MIB), 2 * ROUNDING)}
    assert log.sizes("recurrent") == {"CPU": mib(20.94)}
    assert log.kv_tokens == 4096  # of the cache that holds most, not of the recurrent cells
    assert log.kv_format == "fp16"
    assert log.sizes("weights") == {"CPU_Mapped": mib(10), "CPU_REPACK": mib(8)}
    assert all(is_host(buffer) for buffer in log.sizes("weights"))
    assert [each.label for each in used_devices(log)] == ["CPU"]


def test_without_buffers_the_table_tells() -> None:
    log = parse_log(TABLE)
    assert log.sizes("weights") == {"CUDA0": (28609 * MIB, MIB), "Host": (30940 * MIB, MIB)}
    assert log.sizes("context") == {"CUDA0": (397 * MIB, MIB), "Host": (0, MIB)}
    assert log.total_bytes == 32606 * MIB


def test_beside_buffers_the_table_tells_only_of_the_device() -> None:
    log = parse_log(NEW + TABLE.split("\n", 1)[1].replace("32606", "24124"))
    assert log.terms == parse_log(NEW).terms


def test_a_trial_of_fit_is_no_load() -> None:
    trial = NEW.replace("no_alloc              = 0", "no_alloc              = 1").replace("2787.45", "9999.99")
    log = parse_log(trial + NEW)
    assert log.starts == 1
    assert log.sizes("weights")["CUDA0"] == mib(2787.45)


def test_a_draft_model_stands_beside() -> None:
    draft = "srv load_model: loading draft model 'd.gguf'\n" + HYBRID
    log = parse_log(NEW + draft)
    assert log.sizes("weights") == parse_log(NEW).sizes("weights")
    assert log.sizes("draft weights") == {"CPU_Mapped": mib(10), "CPU_REPACK": mib(8)}
    assert log.kv_tokens == 32768
    assert "a draft model is loaded beside it: h.gguf" in log.remarks


def test_a_second_context_is_a_drafts() -> None:
    second = "\n".join(line for line in HYBRID.splitlines() if "load_tensors" not in line and "meta data" not in line)
    log = parse_log(NEW + second)
    assert log.sizes("kv") == {"CUDA0": mib(578), "CUDA1": mib(374)}
    assert log.sizes("draft kv") == {"CPU": (round(4.5 * MIB), 2 * ROUNDING)}
    assert (log.context, log.kv_format) == (32768, "q8_0")


def test_of_several_loads_the_last_complete_one_is_read() -> None:
    log = parse_log(OLD + NEW + OLD.split("llama_new_context")[0])
    assert (log.starts, log.model_name) == (2, "Qwen2.5 7B Instruct")
    assert log.remarks == ("the log holds 2 model loads: the last complete one is read",)


@pytest.mark.parametrize("path", REAL, ids=[path.name for path in REAL])
def test_a_real_log_is_read_whole(path: Path) -> None:
    log = read_log(path)
    assert log.engine == "llama.cpp"
    printed = [line for line in path.read_text(errors="replace").splitlines() if " buffer size =" in line]
    names = {"model": "weights", "KV": "kv", "RS": "recurrent", "compute": "compute", "output": "output"}
    for word, name in names.items():
        sizes = [float(line.rsplit("=", 1)[1].split()[0]) for line in printed if f" {word} buffer size" in line]
        ours = [term for term in log.terms if term.name == name]
        assert bool(sizes) == bool(ours), name
        if name in ("weights", "kv", "recurrent") and log.starts == 1:
            assert sum(term.size_bytes for term in ours) == pytest.approx(sum(sizes) * MIB, abs=10)
    assert log.context
    assert not {text for text in log.unread if not text.startswith(("build", "devices"))}  # the machine's, cut out
