"""Bytes that a real MLX counts for weights and caches, against the formulas of inferwise.memory.engines.mlx.

    PYTHONPATH=src python benchmarks/mlx_memory.py [--write]   (mlx[cpu], mlx-lm; two minutes on one core)

MLX's own allocator is asked (mx.get_active_memory) on whatever backend is there: on Linux the CPU one, whose attention
is not Metal's, so that peaks are left out. Small random models. Writes benchmarks/results/mlx_memory.json.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.generate import generate_step
from mlx_lm.models import llama
from mlx_lm.models.cache import make_prompt_cache

import inferwise as iw
from inferwise.catalog.engines import engine
from inferwise.memory.case import Case
from inferwise.memory.engines import allocate
from inferwise.spec.hardware import Accelerator, Kind, Node

RESULTS = Path(__file__).parent / "results" / "mlx_memory.json"
CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 896,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "rms_norm_eps": 1e-5, "vocab_size": 2048,
    "rope_theta": 1e4, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "max_position_embeddings": 8192,
}  # fmt: skip
PROMPTS = (100, 255, 256, 300, 1000, 1500, 2100)
MAC = Accelerator(slug="mac", name="Mac", memory_bytes=2**36, vendor="Apple", kind=Kind.UNIFIED)


def built(bits: int | None) -> Any:
    model = llama.Model(llama.ModelArgs.from_dict(CONFIG))
    model.set_dtype(mx.bfloat16)
    if bits:
        nn.quantize(model, group_size=64, bits=bits)
    mx.eval(model.parameters())
    gc.collect()
    mx.clear_cache()
    return model


def predicted(context: int, weights: str | None) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(CONFIG))
        model = iw.model(str(path))
    made = engine("mlx")
    case = Case(
        model=model, node=Node(devices=(MAC,)), engine=made, layout=made.layout, context=context, weights=weights
    )
    device = allocate(case).devices[0]
    return {"weights": device.size("weights"), "kv": device.size("kv")}


def main() -> None:
    rows = []
    for name, bits in ((None, None), ("int8", 8), ("int4", 4)):
        before = mx.get_active_memory()
        model = built(bits)
        got, said = mx.get_active_memory() - before, predicted(256, name)["weights"]
        rows.append({"what": "weights", "format": name or "bf16", "measured": got, "predicted": said})
        del model
    model = built(None)
    for prompt in PROMPTS:
        gc.collect()
        mx.clear_cache()
        tokens = mx.random.randint(1, 2000, (prompt,))
        mx.eval(tokens)
        cache = make_prompt_cache(model)
        for _ in generate_step(tokens, model, max_tokens=2, prompt_cache=cache):
            pass
        got = sum(each.nbytes for each in cache)
        rows.append(
            {"what": "kv", "tokens": prompt + 2, "measured": got, "predicted": predicted(prompt + 2, None)["kv"]}
        )
    for row in rows:
        print(row, f"{row['predicted'] / row['measured'] - 1:+.2%}")
    if "--write" in sys.argv:
        versions = {name: importlib.metadata.version(name) for name in ("mlx", "mlx-lm")}
        RESULTS.write_text(
            json.dumps({"versions": versions, "backend": str(mx.default_device()), "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
