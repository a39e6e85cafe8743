"""GGUF files that a real llama.cpp loads: the tensors of real architectures with random weights, or with a hole.

Buffers follow shapes, not values: of formats that the gguf package cannot make, and in benchmarks, the data is never
written, and the file is as long as the real one and takes no disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, quants
from tests.llama_cpp.shapes import Shape

ALIGNMENT = 32  # GGUF's default, in bytes


# name, dimensions as GGUF orders them (fastest first), whether it takes the file's quantisation
Tensor = tuple[str, tuple[int, ...], bool]
Tensors = Iterator[Tensor]


def _plain_attention(shape: Shape, layer: int) -> Tensors:
    width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield f"blk.{layer}.attn_q.weight", (shape.hidden, width), True
    yield f"blk.{layer}.attn_k.weight", (shape.hidden, kv_width), True
    yield f"blk.{layer}.attn_v.weight", (shape.hidden, kv_width), True
    yield f"blk.{layer}.attn_output.weight", (width, shape.hidden), True
    if shape.architecture in ("qwen2", "gpt-oss"):
        yield f"blk.{layer}.attn_q.bias", (width,), False
        yield f"blk.{layer}.attn_k.bias", (kv_width,), False
        yield f"blk.{layer}.attn_v.bias", (kv_width,), False
    if shape.architecture in ("qwen3", "qwen3moe", "gemma3"):
        yield f"blk.{layer}.attn_q_norm.weight", (shape.head_dim,), False
        yield f"blk.{layer}.attn_k_norm.weight", (shape.head_dim,), False
    if shape.architecture == "gpt-oss":
        yield f"blk.{layer}.attn_output.bias", (shape.hidden,), False
        yield f"blk.{layer}.attn_sinks.weight", (shape.heads,), False


def _latent_attention(shape: Shape, layer: int) -> Tensors:
    """DeepSeek's: keys and values through the latent, their up-projections apart, queries through one of their own."""
    latent, rope = shape.extra["attention.kv_lora_rank"], shape.extra["rope.dimension_count"]
    key, value = shape.extra["attention.key_length_mla"], shape.extra["attention.value_length_mla"]
    if rank := shape.extra.get("attention.q_lora_rank", 0):
        yield f"blk.{layer}.attn_q_a.weight", (shape.hidden, rank), True
        yield f"blk.{layer}.attn_q_a_norm.weight", (rank,), False
        yield f"blk.{layer}.attn_q_b.weight", (rank, shape.heads * key), True
    else:
        yield f"blk.{layer}.attn_q.weight", (shape.hidden, shape.heads * key), True
    yield f"blk.{layer}.attn_kv_a_mqa.weight", (shape.hidden, latent + rope), True
    yield f"blk.{layer}.attn_kv_a_norm.weight", (latent,), False
    yield f"blk.{layer}.attn_k_b.weight", (key - rope, latent, shape.heads), True
    yield f"blk.{layer}.attn_v_b.weight", (latent, value, shape.heads), True
    yield f"blk.{layer}.attn_output.weight", (shape.heads * value, shape.hidden), True


def _mamba2(shape: Shape, layer: int) -> Tensors:
    inner, groups = shape.extra["ssm.inner_size"], shape.extra["ssm.group_count"]
    heads, kernel = shape.extra["ssm.time_step_rank"], shape.extra["ssm.conv_kernel"]
    mixed = inner + 2 * groups * shape.extra["ssm.state_size"]
    yield f"blk.{layer}.ssm_in.weight", (shape.hidden, inner + mixed + heads), True
    yield f"blk.{layer}.ssm_conv1d.weight", (kernel, mixed), False
    yield f"blk.{layer}.ssm_conv1d.bias", (mixed,), False
    yield f"blk.{layer}.ssm_dt.bias", (heads,), False
    yield f"blk.{layer}.ssm_a", (1, heads), False
    yield f"blk.{layer}.ssm_d", (1, heads), False
    yield f"blk.{layer}.ssm_norm.weight", (inner // groups, groups), False
    yield f"blk.{layer}.ssm_out.weight", (inner, shape.hidden), True


def _gated_delta_net(shape: Shape, layer: int) -> Tensors:
    inner, key_heads = shape.extra["ssm.inner_size"], shape.extra["ssm.group_count"]
    heads, state = shape.extra["ssm.time_step_rank"], shape.extra["ssm.state_size"]
    mixed = inner + 2 * key_heads * state
    yield f"blk.{layer}.attn_qkv.weight", (shape.hidden, mixed), True
    yield f"blk.{layer}.attn_gate.weight", (shape.hidden, inner), True
    yield f"blk.{layer}.ssm_ba.weight", (shape.hidden, 2 * heads), True
    yield f"blk.{layer}.ssm_conv1d.weight", (shape.extra["ssm.conv_kernel"], mixed), False
    yield f"blk.{layer}.ssm_dt.bias", (heads,), False
    yield f"blk.{layer}.ssm_a", (heads,), False
    yield f"blk.{layer}.ssm_norm.weight", (inner // heads,), False
    yield f"blk.{layer}.ssm_out.weight", (inner, shape.hidden), True


def _gated_attention(shape: Shape, layer: int) -> Tensors:
    width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield f"blk.{layer}.attn_q.weight", (shape.hidden, 2 * width), True
    yield f"blk.{layer}.attn_k.weight", (shape.hidden, kv_width), True
    yield f"blk.{layer}.attn_v.weight", (shape.hidden, kv_width), True
    yield f"blk.{layer}.attn_output.weight", (width, shape.hidden), True
    yield f"blk.{layer}.attn_q_norm.weight", (shape.head_dim,), False
    yield f"blk.{layer}.attn_k_norm.weight", (shape.head_dim,), False


def _mixer(shape: Shape, layer: int) -> Tensors:
    if shape.architecture == "deepseek2":
        return _latent_attention(shape, layer)
    if shape.architecture == "qwen3next":
        full = (layer + 1) % shape.extra["full_attention_interval"] == 0
        return _gated_attention(shape, layer) if full else _gated_delta_net(shape, layer)
    if shape.architecture == "granitehybrid" and shape.extra["attention.head_count_kv"][layer] == 0:
        return _mamba2(shape, layer)
    return _plain_attention(shape, layer)


def _ffn(shape: Shape, layer: int) -> Tensors:
    if not shape.experts or layer < shape.leading_dense:
        yield f"blk.{layer}.ffn_gate.weight", (shape.hidden, shape.ffn), True
        yield f"blk.{layer}.ffn_up.weight", (shape.hidden, shape.ffn), True
        yield f"blk.{layer}.ffn_down.weight", (shape.ffn, shape.hidden), True
        return
    width, experts = shape.expert_ffn, shape.experts
    yield f"blk.{layer}.ffn_gate_inp.weight", (shape.hidden, experts), False
    yield f"blk.{layer}.ffn_gate_exps.weight", (shape.hidden, width, experts), True
    yield f"blk.{layer}.ffn_up_exps.weight", (shape.hidden, width, experts), True
    yield f"blk.{layer}.ffn_down_exps.weight", (width, shape.hidden, experts), True
    if shape.architecture == "gpt-oss":
        yield f"blk.{layer}.ffn_gate_inp.bias", (experts,), False
        yield f"blk.{layer}.ffn_gate_exps.bias", (width, experts), False
        yield f"blk.{layer}.ffn_up_exps.bias", (width, experts), False
        yield f"blk.{layer}.ffn_down_exps.bias", (shape.hidden, experts), False
    if shape.shared_ffn:
        yield f"blk.{layer}.ffn_gate_shexp.weight", (shape.hidden, shape.shared_ffn), True
        yield f"blk.{layer}.ffn_up_shexp.weight", (shape.hidden, shape.shared_ffn), True
        yield f"blk.{layer}.ffn_down_shexp.weight", (shape.shared_ffn, shape.hidden), True
    if shape.architecture == "qwen3next":
        yield f"blk.{layer}.ffn_gate_inp_shexp.weight", (shape.hidden,), False


def _norms(shape: Shape, layer: int) -> Tensors:
    after = ("post_attention_norm", "ffn_norm", "post_ffw_norm")
    names = {"gemma3": after, "gpt-oss": after[:1], "qwen3next": after[:1]}.get(shape.architecture, ("ffn_norm",))
    for name in ("attn_norm", *names):
        yield f"blk.{layer}.{name}.weight", (shape.hidden,), False


def tensors(shape: Shape) -> Tensors:
    """Every tensor that llama.cpp asks of such a file."""
    yield "token_embd.weight", (shape.hidden, shape.vocab), True
    yield "output_norm.weight", (shape.hidden,), False
    if not shape.tied:
        yield "output.weight", (shape.hidden, shape.vocab), True
    for layer in range(shape.layers):
        yield from _norms(shape, layer)
        yield from _mixer(shape, layer)
        yield from _ffn(shape, layer)


def metadata(shape: Shape) -> dict[str, Any]:
    """The keys under the architecture's name."""
    keys: dict[str, Any] = {
        "block_count": shape.layers,
        "context_length": shape.trained_context,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.ffn,
        "vocab_size": shape.vocab,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": shape.head_dim,
        "rope.freq_base": 1e6,
    }
    if shape.experts:
        keys |= {"expert_count": shape.experts, "expert_used_count": shape.experts_used}
        keys |= {"expert_feed_forward_length": shape.expert_ffn}
    if shape.shared_ffn:
        keys |= {"expert_shared_feed_forward_length": shape.shared_ffn}
    if shape.leading_dense:
        keys |= {"leading_dense_block_count": shape.leading_dense}
    if shape.window:
        keys |= {"attention.sliding_window": shape.window}
    return keys | dict(shape.extra)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, list(value))


def _bytes(dimensions: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return math.prod(dimensions) // block * size


@cache
def _tile(kind: GGMLQuantizationType) -> bytes:
    """A megabyte of values of N(0, 0.02) in a type, from a fixed seed."""
    values = np.random.default_rng(0).normal(0, 0.02, 2**20).astype(np.float32)
    if kind == GGMLQuantizationType.F32:
        return values.tobytes()
    return bytes(quants.quantize(values, kind).tobytes())


def _random(kind: GGMLQuantizationType, size: int) -> Iterator[bytes]:
    """Random weights of a type, `size` bytes: whole tiles and a part."""
    tile = _tile(kind)
    for _ in range(size // len(tile)):
        yield tile
    yield tile[: size % len(tile)]


def write(path: Path, shape: Shape, *, weights: str = "Q8_0", random: bool = False) -> Path:
    """Write `shape` with matrices in `weights` (a ggml type's name) and norms, biases and routers in F32.

    A matrix whose rows are no whole number of the type's blocks is in F16, as llama.cpp's own quantiser does it.
    random: write random weights (of types that the gguf package quantises to); else the data is a hole.
    """
    quantised = GGMLQuantizationType[weights]
    writer = GGUFWriter(path, shape.architecture)
    writer.add_name(path.stem)
    # No words: llama.cpp then takes the vocabulary's size from the metadata, and loads in a tenth of the time.
    writer.add_tokenizer_model("no_vocab")
    for key, value in metadata(shape).items():
        _add(writer, f"{shape.architecture}.{key}", value)
    end = 0
    placed = []
    for name, dimensions, quantises in tensors(shape):
        kind = quantised if quantises else GGMLQuantizationType.F32
        if dimensions[0] % GGML_QUANT_SIZES[kind][0]:
            kind = GGMLQuantizationType.F16
        size = _bytes(dimensions, kind)
        writer.add_tensor_info(name, dimensions[::-1], None, size, raw_dtype=kind)  # type: ignore[arg-type]
        placed.append((end, kind, size))
        end += -(-size // ALIGNMENT) * ALIGNMENT
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header = -(-path.stat().st_size // ALIGNMENT) * ALIGNMENT
    with path.open("r+b") as file:
        file.truncate(header + end)
        for offset, kind, size in placed if random else ():
            file.seek(header + offset)
            file.writelines(_random(kind, size))
    return path
