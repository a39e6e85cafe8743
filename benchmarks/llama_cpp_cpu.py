"""llama.cpp's CPU backend on this machine: rates of small models, and the shares of its own that they reach.

    python -m benchmarks.llama_cpp_cpu [OUT.json]

The models are made on the spot (random or zero weights: the kernels take as long), run by the xllamacpp wheel on all
cores. The memory's rate is what copies or sums of large arrays move, the best of several; the peak counts two FMA
units of 512 bits a core, and twice that in 16 bits, as the catalog counts Zen 5. On a shared machine both are noisy:
best of three.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gguf import GGUFWriter  # noqa: E402
from tests.llama_cpp import gguf_models  # noqa: E402
from tests.llama_cpp.shapes import Shape  # noqa: E402

FLOPS_A_CYCLE = 64  # fp32: two FMA units of sixteen lanes (AVX-512 on Zen 5, as the catalog counts it)
PROMPT, ANSWER, ROUNDS = 256, 24, 3
SMALL = Shape(
    architecture="llama", layers=8, hidden=2048, heads=16, kv_heads=4, head_dim=128, ffn=8192, vocab=32000
)  # fmt: skip
BYTES, NORMAL = 6, 1  # ggml's kinds of tokens


class WithWords(GGUFWriter):
    """A file that can be generated from: the tests' have no words."""

    def add_tokenizer_model(self, model: str) -> None:
        words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        words += [f"w{number}" for number in range(SMALL.vocab - len(words))]
        kinds = [2, 3, 3, *[BYTES] * 256, *[NORMAL] * (SMALL.vocab - 259)]
        super().add_tokenizer_model("llama")
        self.add_token_list(words)
        self.add_token_scores([-float(number) for number in range(SMALL.vocab)])
        self.add_token_types(kinds)


KINDS = ("Q4_0", "Q4_K", "Q8_0", "F16")


def memory_rate() -> float:
    """Bytes/s that all cores move together in copies of arrays far over the caches, or in reading them: the best."""
    cores = os.cpu_count() or 1
    sources = [np.ones(2**25) for _ in range(cores)]
    targets = [np.empty_like(each) for each in sources]
    best = 0.0
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(6):
            for work, passes in ((np.copyto, 2), (lambda _, source: source.sum(), 1)):
                start = time.perf_counter()
                list(pool.map(work, targets, sources))
                taken = time.perf_counter() - start
                best = max(best, passes * cores * sources[0].nbytes / taken)
    return best


def peak_flops() -> float:
    """fp32 of all cores at their clock now."""
    clocks = [float(value) for value in re.findall(r"cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text())]
    return (os.cpu_count() or 1) * max(clocks) * 1e6 * FLOPS_A_CYCLE


def rates(path: Path) -> dict[str, float]:
    """The best of some rounds, each in one process: prompt and decode tokens/s."""
    done = subprocess.run([sys.executable, __file__, "--serve", str(path)], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def serve(path: str) -> None:
    """Load a model, read prompts and write answers, and print the best rates."""
    import xllamacpp as engine  # type: ignore[import-untyped]

    params = engine.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.warmup = 1024, 1, True
    params.load_mode = engine.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    server = engine.Server(params)
    best = {"prompt_tok_s": 0.0, "decode_tok_s": 0.0}
    for number in range(ROUNDS):
        tokens = [int(t) for t in np.random.default_rng(number).integers(10, 30000, PROMPT)]
        asked: dict[str, Any] = {"prompt": tokens, "n_predict": ANSWER, "ignore_eos": True, "cache_prompt": False}
        timings = server.handle_completions(asked)["timings"]
        best["prompt_tok_s"] = max(best["prompt_tok_s"], timings["prompt_per_second"])
        best["decode_tok_s"] = max(best["decode_tok_s"], timings["predicted_per_second"])
    print(json.dumps(best), flush=True)
    os._exit(0)


def main() -> None:
    """Measure every kind, and say what shares of the machine's rates they reach."""
    gguf_models.GGUFWriter = WithWords  # type: ignore[attr-defined]
    memory, peak = memory_rate(), peak_flops()
    found: dict[str, Any] = {"cores": os.cpu_count(), "memory_bytes_per_s": memory, "fp32_flops": peak, "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            path = gguf_models.write(Path(folder) / f"{kind}.gguf", SMALL, weights=kind, random=kind != "Q4_K")
            matrices = [
                np.prod(d) for name, d, quantised in gguf_models.tensors(SMALL) if quantised and "token" not in name
            ]
            weights, size = float(sum(matrices)), path.stat().st_size
            got = rates(path)
            got["read_share"] = got["decode_tok_s"] * size * weights / (weights + SMALL.vocab * SMALL.hidden) / memory
            got["multiply_share"] = got["prompt_tok_s"] * 2 * (weights - SMALL.vocab * SMALL.hidden) / (2 * peak)
            found["runs"][kind] = got
            path.unlink()
    text = json.dumps(found, indent=1)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
