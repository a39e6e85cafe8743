"""The loads that the tests make: each kind of model and each setting that sizes a buffer, small, middling and of 1B."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tests.llama_cpp import shapes as models
from tests.llama_cpp.engine import LoadLog, Settings
from tests.llama_cpp.shapes import Shape, with_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    shape: Shape
    settings: Settings
    weights: str = "Q8_0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    case: Case
    path: Path
    log: LoadLog


SMALL = Shape(  # some megabytes
    architecture="llama", layers=4, hidden=256, heads=8, kv_heads=2, head_dim=32, ffn=768, vocab=4096, tied=True
)
SMALL_MIXED = Shape(
    architecture="llama",
    layers=3,
    hidden=256,
    heads=4,
    kv_heads=4,
    head_dim=64,
    ffn=512,
    vocab=4096,
    experts=8,
    experts_used=2,
    expert_ffn=512,
)
CASES = {
    "small": Case(shape=SMALL, settings=Settings(context=1024, warmup=True)),
    "small, four sequences, no flash attention": Case(
        shape=SMALL, settings=Settings(context=8192, parallel=4, ubatch=256, flash_attn="off")
    ),
    "small, repacked": Case(shape=SMALL, weights="Q4_0", settings=Settings(context=512, ubatch=128)),
    "small, experts, read without mmap": Case(shape=SMALL_MIXED, settings=Settings(mmap=False, warmup=True)),
    "Qwen3-0.6B, two layers, q8_0 cache": Case(
        shape=with_layers(models.QWEN3_600M, 2), settings=Settings(context=32768, kv_k="q8_0", kv_v="q8_0")
    ),
    "Qwen2.5-7B, two layers, wide ubatch": Case(
        shape=with_layers(models.QWEN2_7B, 2), weights="IQ1_S", settings=Settings(context=16384, ubatch=2048)
    ),
    "Llama-3.1-8B, two layers, q4_0 cache": Case(
        shape=with_layers(models.LLAMA_8B, 2),
        weights="IQ1_S",
        settings=Settings(context=8192, kv_k="q4_0", kv_v="q4_0", flash_attn="on"),
    ),
    "Llama-3.1-8B, two layers, every output": Case(
        shape=with_layers(models.LLAMA_8B, 2), weights="IQ1_S", settings=Settings(embedding=True, ubatch=256)
    ),
    "gemma-3-4b, twelve layers, four sequences": Case(
        shape=with_layers(models.GEMMA_3_4B, 12), weights="IQ1_S", settings=Settings(context=16384, parallel=4)
    ),
    "gemma-3-4b, twelve layers, one cache for four": Case(
        shape=with_layers(models.GEMMA_3_4B, 12),
        weights="IQ1_S",
        settings=Settings(context=16384, parallel=4, kv_unified=True, flash_attn="off"),
    ),
    "gpt-oss-20b, two layers": Case(
        shape=with_layers(models.GPT_OSS_20B, 2), weights="MXFP4", settings=Settings(context=8192)
    ),
    "Qwen3-30B-A3B, two layers": Case(
        shape=with_layers(models.QWEN3_30B_A3B, 2), weights="IQ1_S", settings=Settings(context=8192, parallel=2)
    ),
    "DeepSeek-V3, two layers": Case(
        shape=replace(with_layers(models.DEEPSEEK_V3, 2), leading_dense=2), weights="IQ1_S", settings=Settings()
    ),
    "Granite-4.0-H-Tiny, eight layers": Case(
        shape=with_layers(models.GRANITE_4_TINY, 8), weights="IQ1_S", settings=Settings(parallel=4)
    ),
    "Qwen3-Next-80B-A3B, four layers": Case(
        shape=with_layers(models.QWEN3_NEXT_80B, 4), weights="IQ1_S", settings=Settings(context=8192)
    ),
    "Llama-3.2-1B": Case(shape=models.LLAMA_1B, settings=Settings(context=2048)),
    "Llama-3.2-1B, repacked, four sequences": Case(
        shape=models.LLAMA_1B, weights="Q4_0", settings=Settings(context=16384, parallel=4, ubatch=128)
    ),
    "gemma-3-1b": Case(shape=models.GEMMA_3_1B, settings=Settings(context=32768)),
    "gemma-3-1b, windows kept in full": Case(
        shape=models.GEMMA_3_1B, settings=Settings(context=8192, swa_full=True, flash_attn="off")
    ),
}
