"""What a real llama.cpp allocates, over models' shapes and settings: the truth that the memory model answers to.

    python -m benchmarks.llama_cpp_buffers results.json [model ...]

Each case is a load in a process of its own (tests/llama_cpp/engine.py) of a file with the tensors of a real model, a
few of its layers, and no data (tests/llama_cpp/gguf_models.py). Needs `gguf` and `xllamacpp`; about a quarter of an
hour, 6 GB at most at a time. Named models are measured again, the others' cases kept; each model's are
written as they are done.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gguf import GGMLQuantizationType
from tests.llama_cpp import engine, gguf_models, shapes
from tests.llama_cpp.engine import Settings

DEFAULT = Settings(flash_attn="on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A shape at the layers that show each of its kinds once, and in how many layers more of it is loaded."""

    shape: shapes.Shape
    layers: int = 2
    more_layers: tuple[int, ...] = (4, 8)
    weights: str = "IQ1_S"  # the smallest: no compute buffer follows it, as the cases with others show
    other_weights: Sequence[str] = ()


# Those that a file's matrices may have. Which of them llama.cpp repacks for the processor, and so keeps twice, is seen.
NOT_WEIGHTS = ("F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K")
TYPES = tuple(kind.name for kind in GGMLQuantizationType if kind.name not in NOT_WEIGHTS)

MODELS = {
    "Llama-3.1-8B": Model(shape=shapes.LLAMA_8B),
    "Llama-3.2-1B": Model(shape=shapes.LLAMA_1B, other_weights=TYPES),
    "Llama-2-7B": Model(shape=shapes.LLAMA_2_7B),
    "Qwen2.5-7B": Model(shape=shapes.QWEN2_7B),
    "Qwen3-0.6B": Model(shape=shapes.QWEN3_600M, other_weights=("Q4_0",)),
    "gemma-3-1b": Model(shape=shapes.GEMMA_3_1B, layers=12, more_layers=(6, 26), weights="MXFP4"),
    "gemma-3-4b": Model(shape=shapes.GEMMA_3_4B, layers=12, more_layers=(6, 34)),
    "gpt-oss-20b": Model(shape=shapes.GPT_OSS_20B, weights="MXFP4"),
    "Qwen3-30B-A3B": Model(shape=shapes.QWEN3_30B_A3B, other_weights=("Q4_0", "Q4_K", "Q8_0")),
    "Mixtral-8x7B": Model(shape=shapes.MIXTRAL_8X7B),
    # Both with as many of their dense layers as leave one of experts, for the file's size.
    "DeepSeek-V2-Lite": Model(
        shape=replace(shapes.DEEPSEEK_V2_LITE, leading_dense=26), layers=27, more_layers=(), weights="MXFP4"
    ),
    "DeepSeek-V3": Model(shape=replace(shapes.DEEPSEEK_V3, leading_dense=1), more_layers=()),
    "Granite-4.0-H-Tiny": Model(shape=shapes.GRANITE_4_TINY, layers=4, more_layers=(8, 16)),
    "Qwen3-Next-80B-A3B": Model(shape=shapes.QWEN3_NEXT_80B, layers=4, more_layers=(8,)),
}


def grid(windowed: bool) -> Iterator[Settings]:
    """The settings of every model at its base layers."""
    for flash in ("on", "off"):
        for parallel in (1, 4):
            for context in (512, 4096, 32768):
                for ubatch in (128, 512, 2048):
                    yield Settings(context=context, ubatch=ubatch, parallel=parallel, flash_attn=flash)
        for context in (1024, 2048, 8192, 16384):
            yield replace(DEFAULT, context=context, flash_attn=flash)
        for context in (4096, 32768):
            yield replace(DEFAULT, context=context, parallel=4, kv_unified=True, flash_attn=flash)
        for ubatch in (128, 512, 2048):
            yield replace(DEFAULT, ubatch=ubatch, embedding=True, flash_attn=flash)
        yield replace(DEFAULT, batch=256, flash_attn=flash)
        yield replace(DEFAULT, context=16384, parallel=16, flash_attn=flash)
        if windowed:
            yield replace(DEFAULT, context=8192, swa_full=True, flash_attn=flash)
            yield replace(DEFAULT, context=8192, parallel=4, swa_full=True, flash_attn=flash)
            yield replace(DEFAULT, context=8192, parallel=4, kv_unified=True, flash_attn=flash)
    for kv in ("q8_0", "q4_0"):
        for context in (4096, 32768):
            for ubatch in (512, 2048):
                yield replace(DEFAULT, context=context, ubatch=ubatch, kv_k=kv, kv_v=kv)
        yield replace(DEFAULT, kv_k=kv, flash_attn="off")  # V is quantised with flash attention only
    yield replace(DEFAULT, kv_k="q8_0", kv_v="q4_0")
    yield replace(DEFAULT, kv_k="f32", kv_v="f32")
    yield replace(DEFAULT, flash_attn="auto")
    yield replace(DEFAULT, mmap=False)


def cases(model: Model) -> Iterator[tuple[int, str, Settings]]:
    """Layers, weights and settings of every load of one model."""
    for settings in grid(bool(model.shape.window)):
        yield model.layers, model.weights, settings
    few = [replace(DEFAULT, context=context, flash_attn=flash) for context in (4096, 16384) for flash in ("on", "off")]
    for layers in model.more_layers:
        for settings in few:
            yield layers, model.weights, settings
    for weights in (each for each in model.other_weights if each != model.weights):
        for settings in (DEFAULT, replace(DEFAULT, repack=False), replace(DEFAULT, mmap=False)):
            yield model.layers, weights, settings


def measure(name: str, path: Path, case: tuple[int, str, Settings]) -> dict[str, Any]:
    """One case, as the results file has it: the settings that differ from llama-server's own, and what was logged."""
    layers, weights, settings = case
    usual = asdict(Settings())
    row: dict[str, Any] = {"model": name, "layers": layers, "weights": weights}
    row["settings"] = {key: value for key, value in asdict(settings).items() if value != usual[key]}
    try:
        log = engine.load(path, settings)
    except engine.LoadFailed as failed:
        return row | {"refused": reason(str(failed)).replace(str(path), "FILE")}
    kept = asdict(log)
    for left_out in ("text", "file_mib", "peak_bytes", "context", "batch", "ubatch", "sequences", "kv_unified"):
        kept.pop(left_out)
    kept["caches"] = [list(cache.values()) for cache in kept["caches"]]
    return row | {"logged": kept}


def reason(message: str) -> str:
    """The first error that llama.cpp logged, without its time."""
    errors = [line.split(" ", 1)[1] for line in message.splitlines() if " E " in line]
    return errors[0] if errors else message.splitlines()[-1]


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """One case a line, so that a difference between two runs reads as one."""
    described = {
        name: asdict(model.shape) | {"layers_loaded": model.layers, "keys": gguf_models.metadata(model.shape)}
        for name, model in MODELS.items()
    }
    for shape in described.values():
        del shape["extra"]  # among the keys
    head = {
        "engine": f"llama.cpp as in xllamacpp {version('xllamacpp')}, CPU (x86-64 with AVX2)",
        "unit": "MiB, as logged, to two decimals",
        "defaults": asdict(Settings()),
        "cache_columns": ["cells", "layers", "streams", "k_type", "k_mib", "v_type", "v_mib"],
    }
    models = ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in described.items())
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    top = json.dumps(head, indent=1)[:-2]
    path.write_text(f'{top},\n "models": {{\n{models}\n }},\n "cases": [\n{lines}\n ]\n}}\n')


def main(results: Path, names: list[str]) -> None:
    """Measure the named models, or all of them."""
    rows = json.loads(results.read_text())["cases"] if results.exists() and names else []
    rows = [row for row in rows if row["model"] not in names]
    order = list(MODELS)
    for name in names or MODELS:
        model = MODELS[name]
        with tempfile.TemporaryDirectory() as folder:
            path, written = Path(folder) / "model.gguf", None
            for case in cases(model):
                if written != case[:2]:  # one file at a time: each takes its size of the page cache
                    gguf_models.write(path, shapes.with_layers(model.shape, case[0]), weights=case[1])
                    written = case[:2]
                rows.append(measure(name, path, case))
        rows.sort(key=lambda row: order.index(row["model"]))
        save(results, rows)
        print(f"{name}: {sum(row['model'] == name for row in rows)} cases", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
