"""Live bytes of a real transformers forward on CPU tensors, against the formula of inferwise.memory.parts.live_tensors.

    PYTHONPATH=src python benchmarks/transformers_memory.py [--write]   (torch, transformers; a minute on two cores)

Every tensor that an operator makes is counted while its storage lives (a TorchDispatchMode); weights are not. Small
random models of real architectures, batches without padding. Writes benchmarks/results/transformers_memory.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers import AutoConfig, AutoModelForCausalLM

import inferwise as iw
from inferwise.catalog.engines import engine
from inferwise.memory.parts.cells import stage_cells
from inferwise.memory.parts.live_tensors import moments, widest
from inferwise.spec.deployment import Parallel

RESULTS = Path(__file__).parent / "results" / "transformers_memory.json"
BASE = {
    "hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32,
    "intermediate_size": 896, "vocab_size": 1000, "max_position_embeddings": 4096,
}  # fmt: skip
WINDOWED = {"sliding_window": 128, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, wide attention": ("llama", {"num_attention_heads": 32, "num_key_value_heads": 8}),
    "llama, MHA, narrow MLP": ("llama", {"num_key_value_heads": 8, "intermediate_size": 256}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3, wide attention": ("qwen3", {"num_attention_heads": 24, "num_key_value_heads": 4}),
    "mistral": ("mistral", {"sliding_window": None}),
    "gemma3_text": ("gemma3_text", WINDOWED),
    "phi3": ("phi3", {"pad_token_id": 0}),
    "olmo2": ("olmo2", {}),
    "qwen3_moe": ("qwen3_moe", {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}),
    "qwen3_moe, wide experts": (
        "qwen3_moe",
        {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512},
    ),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
}
SHAPES = ((1, 512), (2, 512), (1, 2048), (4, 256))


class Live(TorchDispatchMode):
    """Bytes of the storages that operators make, while they live."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known = {t.untyped_storage()._cdata: 0 for t in [*model.parameters(), *model.buffers()]}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_flatten(out)[0]:
            if isinstance(each, torch.Tensor):
                self.count(each.untyped_storage())
        return out

    def count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known or not size:
            return
        self.known[key] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.free, key)

    def free(self, key: int) -> None:
        self.live -= self.known.pop(key, 0)


def measure(config: Any, batch: int, prompt: int) -> dict[str, int]:
    """Peaks of a prompt's forward and of a decode step, and the cache after the prompt [bytes]."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    ids = torch.randint(3, config.vocab_size, (batch, prompt))
    with torch.no_grad(), Live(model) as live:
        out = model(ids, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        del out
        peak, kept, live.peak = live.peak, live.live, live.live
        model(ids[:, :1], past_key_values=cache, use_cache=True)
        step = live.peak - kept
    return {"prefill_peak_bytes": peak, "cache_bytes": kept, "decode_extra_bytes": step}


def predict(config: Any, batch: int, prompt: int) -> dict[str, int]:
    """The same by formula."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(config.to_dict() | {"architectures": None}))
        model = iw.model(str(path))
    data = engine("transformers").defaults
    layout = engine("transformers").layout
    cells = stage_cells(model, layout, Parallel(), range(len(model.decoder.pattern)))
    cache = batch * (cells.full_bytes(prompt) + sum(size for _, size in cells.windows) * prompt)
    size, known = data["element_bytes"], moments(model, data)
    step = widest(known, 1, size)
    return {
        "prefill_peak_bytes": cache + batch * widest(known, prompt, size).size_bytes(prompt, size),
        "cache_bytes": cache,
        "decode_extra_bytes": batch * (prompt * cells.largest // 2 + step.elements * size),
    }


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    rows = []
    for name, (kind, more) in MODELS.items():
        config = AutoConfig.for_model(kind, **{**BASE, **more})
        for batch, prompt in SHAPES:
            got, said = measure(config, batch, prompt), predict(config, batch, prompt)
            rows.append({"model": name, "batch": batch, "prompt": prompt, "measured": got, "predicted": said})
            errors = {key: said[key] / got[key] - 1 for key in got}
            print(f"{name:26} {batch} x {prompt:5}", *(f"{key} {error:+.1%}" for key, error in errors.items()))
    if "--write" in sys.argv:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        RESULTS.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
