"""The shapes of real models, from their published configurations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a GGUF file's metadata says of one model; `extra` has the keys that only its architecture knows."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    trained_context: int = 131072
    tied: bool = False
    experts: int = 0
    experts_used: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    leading_dense: int = 0
    window: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def with_layers(shape: Shape, layers: int) -> Shape:
    """The same model with fewer or more layers; a per-layer list keeps its period."""
    extra = {
        key: [value[layer % len(value)] for layer in range(layers)] if isinstance(value, (list, tuple)) else value
        for key, value in shape.extra.items()
    }
    return replace(shape, layers=layers, extra=extra)


LLAMA_8B = Shape(  # Llama-3.1-8B
    architecture="llama", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256
)
LLAMA_1B = Shape(  # Llama-3.2-1B
    architecture="llama", layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192, vocab=128256, tied=True
)
LLAMA_2_7B = Shape(  # multi-head attention
    architecture="llama",
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=32,
    head_dim=128,
    ffn=11008,
    vocab=32000,
    trained_context=4096,
)
QWEN2_7B = Shape(  # Qwen2.5-7B
    architecture="qwen2", layers=28, hidden=3584, heads=28, kv_heads=4, head_dim=128, ffn=18944, vocab=152064
)
QWEN3_600M = Shape(  # Qwen3-0.6B
    architecture="qwen3", layers=28, hidden=1024, heads=16, kv_heads=8, head_dim=128, ffn=3072, vocab=151936, tied=True
)
GEMMA_3_1B = Shape(
    architecture="gemma3",
    layers=26,
    hidden=1152,
    heads=4,
    kv_heads=1,
    head_dim=256,
    ffn=6912,
    vocab=262144,
    tied=True,
    window=512,
)
GEMMA_3_4B = replace(GEMMA_3_1B, layers=34, hidden=2560, heads=8, kv_heads=4, ffn=10240, window=1024)
GPT_OSS_20B = Shape(
    architecture="gpt-oss",
    layers=24,
    hidden=2880,
    heads=64,
    kv_heads=8,
    head_dim=64,
    ffn=2880,
    vocab=201088,
    experts=32,
    experts_used=4,
    expert_ffn=2880,
    window=128,
)
QWEN3_30B_A3B = Shape(
    architecture="qwen3moe",
    layers=48,
    hidden=2048,
    heads=32,
    kv_heads=4,
    head_dim=128,
    ffn=6144,
    vocab=151936,
    experts=128,
    experts_used=8,
    expert_ffn=768,
)
MIXTRAL_8X7B = Shape(
    architecture="llama",
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    ffn=14336,
    vocab=32000,
    trained_context=32768,
    experts=8,
    experts_used=2,
    expert_ffn=14336,
)
DEEPSEEK_V2_LITE = Shape(  # llama.cpp knows queries of full rank by 26 or 27 layers, and asks others for a rank
    architecture="deepseek2",
    layers=27,
    hidden=2048,
    heads=16,
    kv_heads=1,
    head_dim=576,
    ffn=10944,
    vocab=102400,
    trained_context=163840,
    experts=64,
    experts_used=6,
    expert_ffn=1408,
    shared_ffn=2816,
    leading_dense=1,
    extra={
        "expert_shared_count": 2,
        "expert_weights_scale": 1.0,
        "expert_gating_func": 1,
        "attention.kv_lora_rank": 512,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,
        "attention.value_length_mla": 128,
        "rope.dimension_count": 64,
    },
)
DEEPSEEK_V3 = Shape(
    architecture="deepseek2",
    layers=61,
    hidden=7168,
    heads=128,
    kv_heads=1,
    head_dim=576,
    ffn=18432,
    vocab=129280,
    trained_context=163840,
    experts=256,
    experts_used=8,
    expert_ffn=2048,
    shared_ffn=2048,
    leading_dense=3,
    extra=DEEPSEEK_V2_LITE.extra | {"attention.q_lora_rank": 1536, "expert_shared_count": 1, "expert_gating_func": 2},
)
GRANITE_4_TINY = Shape(  # Granite-4.0-H-Tiny; every fourth layer attends here, every tenth there
    architecture="granitehybrid",
    layers=40,
    hidden=1536,
    heads=12,
    kv_heads=4,
    head_dim=128,
    ffn=512,
    vocab=100352,
    tied=True,
    experts=64,
    experts_used=6,
    expert_ffn=512,
    shared_ffn=1024,
    extra={
        "attention.head_count_kv": [0, 0, 0, 4] * 10,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 3072,
        "ssm.state_size": 128,
        "ssm.time_step_rank": 48,
        "ssm.group_count": 1,
        "attention.scale": 0.0078125,
        "embedding_scale": 12.0,
        "residual_scale": 0.22,
        "logit_scale": 6.0,
    },
)
QWEN3_NEXT_80B = Shape(
    architecture="qwen3next",
    layers=48,
    hidden=2048,
    heads=16,
    kv_heads=2,
    head_dim=256,
    ffn=5120,
    vocab=151936,
    trained_context=262144,
    experts=512,
    experts_used=10,
    expert_ffn=512,
    shared_ffn=512,
    extra={
        "rope.dimension_count": 64,
        "full_attention_interval": 4,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 4096,
        "ssm.state_size": 128,
        "ssm.time_step_rank": 32,
        "ssm.group_count": 16,
    },
)
