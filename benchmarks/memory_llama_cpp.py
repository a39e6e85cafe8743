"""llama.cpp's buffers as logged against what inferwise says: writes docs/memory_llama_cpp.md.

    python -m benchmarks.memory_llama_cpp FOLDER

FOLDER has memory_logs.csv. The grid of real loads is benchmarks/results/llama_cpp_buffers.json; its models are written
again as files without data. Needs `gguf`; a minute.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.llama_cpp_buffers import MODELS  # noqa: E402
from tests.llama_cpp import gguf_models, shapes  # noqa: E402
from tests.llama_cpp.engine import Settings  # noqa: E402
from tests.llama_cpp.predicted import mib, predict  # noqa: E402

import inferwise as iw  # noqa: E402  (the path comes first)
from inferwise.catalog.engines import engine  # noqa: E402
from inferwise.errors import InferwiseError  # noqa: E402
from inferwise.memory.allocation import Allocation  # noqa: E402
from inferwise.memory.case import Case  # noqa: E402
from inferwise.memory.engines.llama_cpp import allocate  # noqa: E402
from inferwise.memory.llama_cpp.kv_cells import cache_bytes, cells_for  # noqa: E402
from inferwise.memory.llama_cpp.layers import layers_of  # noqa: E402
from inferwise.spec.attention import LatentAttention  # noqa: E402
from inferwise.spec.engine import Settings as Flags  # noqa: E402
from inferwise.spec.hardware import Accelerator, Node  # noqa: E402
from inferwise.spec.model import Model  # noqa: E402
from inferwise.units import GIB, MIB  # noqa: E402

PAGE = ROOT / "docs" / "memory_llama_cpp.md"
GRID = ROOT / "benchmarks" / "results" / "llama_cpp_buffers.json"
MAY_2024 = "b2900"
LLAMA3 = "meta-llama/Meta-Llama-3-8B-Instruct"
FORK = {  # what the fork's logs call a model: ours
    "deepseek r1": "deepseek-ai/DeepSeek-R1", "deepseek v3": "deepseek-ai/DeepSeek-V3",
    "deepseek v2.5": "deepseek-ai/DeepSeek-V2.5", "deepseek-coder-v2-lite": "deepseek-ai/DeepSeek-V2-Lite",
    "qwen3 235b": "Qwen/Qwen3-235B-A22B", "qwen3 30b": "Qwen/Qwen3-30B-A3B", "qwen3-32b": "Qwen/Qwen3-32B",
    "gemma-3-27b": "google/gemma-3-27b-it", "kimi-k2": "moonshotai/Kimi-K2-Instruct",
    "glm z1 32b": "zai-org/GLM-Z1-32B-0414",
    "llama_nemotron_ultra": "nvidia/Llama-3_1-Nemotron-Ultra-253B-v1",
    "meta_llama_3.1_8b": "meta-llama/Llama-3.1-8B-Instruct",
    "bitnet2b": "microsoft/bitnet-b1.58-2B-4T",
}  # fmt: skip
STRIX = {
    "llama-2-7b": ("meta-llama/Llama-2-7b-hf", "Q4_K_M"),
    "shisa-v2-llama3.1-8b": ("meta-llama/Llama-3.1-8B-Instruct", "Q4_K_M"),
    "shisa-v2-llama3.3-70b": ("meta-llama/Llama-3.3-70B-Instruct", "Q4_K_M"),
    "Mistral-Small": ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", "UD-Q4_K_XL"),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A measured figure beside ours, in one unit."""

    what: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Relative error."""
        return self.predicted / self.measured - 1 if self.measured else float(self.predicted > 0)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    columns = list(head)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def grid() -> Iterator[tuple[str, dict[str, Any], dict[str, Pair]]]:
    """Every load of the grid that inferwise has flags for: the model's name, the case, and its terms in MiB."""
    found = json.loads(GRID.read_text())
    files: dict[tuple[str, int, str], Model] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in found["cases"]:
            asked = Settings(**case["settings"])
            if "refused" in case or asked.kv_k != asked.kv_v:
                continue
            key = case["model"], case["layers"], case["weights"]
            if key not in files:
                shape = shapes.with_layers(MODELS[case["model"]].shape, case["layers"])
                path = gguf_models.write(Path(folder) / f"{len(files)}.gguf", shape, weights=case["weights"])
                files[key] = iw.model(str(path))
            yield case["model"], case, terms(predict(files[key], asked), case["logged"], asked)


def terms(made: Allocation, logged: dict[str, Any], asked: Settings) -> dict[str, Pair]:
    """The terms of one load; the output buffer of an embedding server holds more, and is left out."""
    weights = mib(made, "weights", "mapped weights", "repacked weights")
    pairs = {
        "weights": Pair("weights", sum(logged["model_mib"].values()), weights),
        "kv": Pair("kv", sum(logged["kv_mib"]), mib(made, "kv")),
        "recurrent": Pair("recurrent", logged["recurrent_mib"], mib(made, "recurrent")),
        "output": Pair("output", logged["output_mib"], mib(made, "output")),
        "compute": Pair("compute", sum(logged["compute_mib"].values()), mib(made, "compute")),
    }
    return {name: pair for name, pair in pairs.items() if name != "output" or not asked.embedding}


def grid_section() -> str:
    """The grid, by model; and each load whose compute buffer is not exact."""
    by_model: dict[str, list[tuple[dict[str, Any], dict[str, Pair]]]] = defaultdict(list)
    for name, case, pairs in grid():
        by_model[name].append((case, pairs))
    rows, misses, every = [], [], []
    for name, loads in by_model.items():
        row: list[object] = [name, len(loads)]
        for term in ("kv", "recurrent", "output"):
            off = [abs(pairs[term].predicted - pairs[term].measured) for _, pairs in loads if term in pairs]
            row.append(f"{sum(each <= 0.0151 for each in off)} of {len(off)}")
        row.append(f"{max(abs(pairs['weights'].error) for _, pairs in loads):.2%}")
        errors = [abs(pairs["compute"].error) for _, pairs in loads]
        exact = [abs(pairs["compute"].predicted - pairs["compute"].measured) <= 0.0151 for _, pairs in loads]
        rows.append([*row, f"{sum(exact)} of {len(exact)}", f"{mean(errors):.3%}", f"{max(errors):.2%}"])
        every += errors
        misses += [
            [name, case["layers"], f"`{json.dumps(case['settings'])}`", pairs["compute"].measured,
             f"{pairs['compute'].predicted:.2f}", f"{pairs['compute'].error:+.2%}"]
            for (case, pairs), same in zip(loads, exact, strict=True)
            if not same
        ]  # fmt: skip
    head = ["model", "loads", "KV exact", "recurrent exact", "output exact", "weights: worst", "compute exact",
            "compute: mean", "compute: worst"]  # fmt: skip
    text = (
        table(head, rows)
        + f"\n\nCompute buffer over all {len(every)} loads: mean {mean(every):.3%}, worst {max(every):.2%}."
    )
    if not misses:
        return text + " Every one is that of the log to its rounding."
    text += "\n\nLoads whose compute buffer is not that of the log (MiB):\n\n"
    return text + table(
        ["model", "layers", "settings that differ from the server's", "logged", "ours", "error"], misses
    )


def may_2024(rows: list[dict[str, str]]) -> str:
    """Start-up logs of May 2024: one model on one to eight cards and on Macs."""
    model, build = iw.model(LLAMA3), engine("llama.cpp", MAY_2024)
    pairs: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for row in rows:
        where = row["where"].rpartition("/")[2].partition("@")[0]
        found = re.search(r"_(\d)_v3", where)
        cards = int(found[1]) if found else 1
        context = int(re.search(r"n_ctx=(\d+)", row["settings"])[1])  # type: ignore[index]
        card = Accelerator(slug="card", name="card", memory_bytes=2**44)
        made = allocate(
            Case(model=model, node=Node(devices=(card,) * cards), engine=build, layout=build.layout, weights="Q4_K_M",
                 context=context, settings=Flags(gpu_layers=99))
        )  # fmt: skip
        key = f"{cards} device{'s' * (cards > 1)}, context {context}"
        if row["quantity"] == "kv_bytes_per_token":
            kv = sum(each.size("kv") for each in made.devices)
            pairs[key, "KV, bytes a token"].append(Pair(where, float(row["value"]), kv / context))
        elif row["quantity"] == "activation_gib":
            logged = float(re.search(r"([\d.]+) MiB", row["notes"])[1])  # type: ignore[index]
            pairs[key, "compute, MiB"].append(Pair(where, logged, made.devices[0].size("compute") / MIB))
        else:
            buffers = re.findall(r"\('(?!CPU)\w+', ([\d.]+)\)", row["notes"])
            for device, logged_mib in zip(made.devices, buffers, strict=False):
                pairs[key, "weights of each device, MiB"].append(
                    Pair(where, float(logged_mib), device.size("weights") / MIB)
                )
    lines = [
        [
            case,
            term,
            len(each),
            f"{each[0].measured:,.2f}",
            f"{each[0].predicted:,.2f}",
            f"{max(abs(p.error) for p in each):.3%}",
        ]
        for (case, term), each in sorted(pairs.items())
    ]
    return table(["case", "term", "figures", "logged (first)", "ours (first)", "worst error"], lines)


def fork_kv(model: Model, parts: list[tuple[str, str, float]], context: int) -> float:
    """Our KV bytes for the formats of a log line: a latent, or K and V of every head."""
    layers = layers_of(model, "Q8_0")
    latent = next((b for kind in model.decoder.kinds for b in kind.blocks if isinstance(b, LatentAttention)), None)
    total = 0.0
    for name, kind, _ in parts:
        kv = {"f16": "fp16", "f32": "fp32"}.get(kind, kind)
        absorbed = name in ("c^KV", "kv^T")
        cells = cells_for(context, 1, 512, unified=True, multiple=1, windows=False, absorbed=absorbed)
        sizes = cache_bytes(layers, cells, kv, kv).of(layers, 0, len(layers.pattern))[0]
        share = 1.0
        if latent is not None and not absorbed:
            width = latent.nope + latent.rope
            share = (width if name == "K" else latent.v_dim) / (width + latent.v_dim)
        elif name == "kv^T" and latent is not None:
            share = latent.kv_rank / (latent.kv_rank + latent.rope)
        elif name in ("K", "V"):
            share = 0.5
        total += sizes * share
    return total


def reason(parts: list[tuple[str, str, float]], model: Model, context: int) -> str:
    """Why a line of the fork's log differs from ours."""

    def agrees(other: Model, tokens: int, lines: list[tuple[str, str, float]]) -> bool:
        logged = sum(size for _, _, size in lines)
        return tokens > 0 and abs(fork_kv(other, lines, tokens) / MIB - logged) <= 0.0051 * len(lines)

    tokens = round(sum(size for _, _, size in parts) * MIB / fork_kv(model, parts, context) * context / 32) * 32
    if agrees(model, tokens, parts):
        return f"the buffer of {tokens:,} tokens stands beside another context"
    for name in FORK.values():
        if known(name) and agrees(iw.model(name), context, parts):
            return f"the figure is that of {name}"
    latent = [({"K": "c^KV", "V": "kv^T"}.get(n, n), k, size) for n, k, size in parts]
    if agrees(model, context, latent):
        return "the fork keeps the latent, and its values a second time, under these names"
    return "unexplained"


def known(name: str) -> bool:
    """Whether the catalog has a model."""
    try:
        iw.model(name)
    except InferwiseError:
        return False
    return True


def fork_section(rows: list[dict[str, str]]) -> str:
    """ik_llama.cpp's KV lines: how many agree, and each that does not with why."""
    agreed, unknown, misses = 0, Counter[str](), list[list[object]]()
    for row in rows:
        lowered = row["model"].lower().replace("deepseek-v3", "deepseek v3").replace("qwen3-235b", "qwen3 235b")
        lowered = (
            lowered.replace("qwen3-30b", "qwen3 30b")
            .replace("kimi k2", "kimi-k2")
            .replace("gemma 3 27b", "gemma-3-27b")
        )
        name = next((ours for theirs, ours in FORK.items() if theirs in lowered), None)
        try:
            model = iw.model(name) if name else None
        except InferwiseError:
            model = None
        parts = [
            (n, k, float(v)) for n, k, v in re.findall(r"(c\^KV|kv\^T|K|V) \((\w+)\): +([\d.]+) MiB", row["notes"])
        ]
        if model is None or not parts:
            unknown[row["model"]] += 1
            continue
        context = int(re.search(r"n_ctx=(\d+)", row["settings"])[1])  # type: ignore[index]
        logged, ours = sum(size for _, _, size in parts), fork_kv(model, parts, context) / MIB
        if abs(logged - ours) <= 0.0051 * len(parts):
            agreed += 1
            continue
        why = reason(parts, model, context)
        misses.append([row["model"], context, ", ".join(f"{n} {k}" for n, k, _ in parts), logged, f"{ours:.2f}", why])
    text = (
        f"{agreed} of {agreed + len(misses)} lines agree to the log's rounding; {sum(unknown.values())} are of models "
    )
    text += f"that we cannot name ({', '.join(f'{k}: {v}' for k, v in unknown.items())}).\n\n"
    return text + table(["model", "context", "caches", "logged, MiB", "ours, MiB", "why"], misses)


def strix_section(rows: list[dict[str, str]]) -> str:
    """Memory deltas of llama-bench on Strix Halo: all that a run takes."""
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    odd = []
    models = {key: iw.model(name) for key, (name, _) in STRIX.items()}
    for row in rows:
        key = next(each for each in STRIX if row["model"].startswith(each))
        backend, build_name = row["engine"].split()
        build = engine("llama.cpp", build_name)
        prompt = int(re.search(r"pp(\d+)", row["settings"])[1])  # type: ignore[index]
        device = Accelerator(slug="apu", name="APU", memory_bytes=2**37, vendor="AMD")
        made = allocate(
            Case(model=models[key], node=Node(devices=(device,)), engine=build, layout=build.layout,
                 weights=STRIX[key][1], context=prompt, encoder=False,
                 settings=Flags(gpu_layers=999, flash_attention="flash_attn=True" in row["settings"]))
        )  # fmt: skip
        file = float(re.search(r"file=([\d.]+)", row["notes"])[1]) * GIB  # type: ignore[index]
        mapped = sum(term.size_bytes for term in made.host if term.name == "mapped weights")
        ours = made.devices[0].total_bytes + file - mapped - made.devices[0].size("weights")
        error = ours / (float(row["value"]) * GIB) - 1
        if abs(error) > 0.15:
            odd.append(
                [
                    row["model"],
                    row["engine"],
                    f"pp{prompt}",
                    row["value"],
                    f"{ours / GIB:.2f}",
                    "less than the weights" if float(row["value"]) * GIB < file * 0.97 else "?",
                ]
            )
        else:
            errors[key, backend, "prompt of 1" if prompt == 1 else "longer prompts"].append(error)
    lines = [
        [*key, len(each), f"{median(each):+.1%}", f"{max(each, key=abs):+.1%}"] for key, each in sorted(errors.items())
    ]
    text = table(["model", "backend", "runs", "count", "median error", "worst"], lines)
    return text + "\n\nRuns left out:\n\n" + table(["model", "engine", "run", "measured, GiB", "ours, GiB", "why"], odd)


def main(folder: Path) -> None:
    """Writes the page."""
    with (folder / "memory_logs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of = {source: [row for row in rows if row["source"] == source] for source in {row["source"] for row in rows}}
    fork = [row for row in of["ik_llama_github_data"] if row["quantity"] == "kv_bytes_per_token"]
    PAGE.write_text(
        "# llama.cpp: what is logged, and what inferwise says\n\n"
        f"Written by `python -m benchmarks.memory_llama_cpp` on {date.today():%Y-%m-%d}. "
        "Weights: mapped and repacked.\n\n"
        f"## Real loads of b11549 on a CPU\n\n{grid_section()}\n\n"
        f"## Start-up logs of May 2024 (CUDA, Metal)\n\n{may_2024(of['xiongjiedai_llamacpp'])}\n\n"
        "On 8 cards the layers are dealt as here; which of them have the larger types follows the order of tensors in "
        "the published file, which was not that of the layers.\n\n"
        f"## ik_llama.cpp (a fork): KV lines\n\n{fork_section(fork)}\n\n"
        "## Strix Halo: memory deltas of whole runs\n\n"
        "The runtime term was taken from these runs: their agreement is no independent test of it. A prompt of one "
        "token reserves what it never touches, and touches no library's workspace.\n\n"
        f"{strix_section(of['lhl_strix_halo'])}\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
