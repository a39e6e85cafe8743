"""Holds vLLM's accounting against start-up logs (memory_vllm.csv) and writes the table of docs/memory_vllm.md.

    python benchmarks/memory_vllm.py ../shared/data/memory_vllm.csv docs/memory_vllm.md

The pool of a row that does not carry it is utilisation x device - weights - activation - non-torch; loaded weights of a
row that does not carry them are our count of the checkpoint's bytes, corrected by the row's own error of such a count.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inferwise.catalog.hardware import hardware
from inferwise.memory.case import Case
from inferwise.memory.deploy import deployment
from inferwise.memory.engines import allocate
from inferwise.memory.placement import stage_weights
from inferwise.read.resolve import resolve
from inferwise.spec.engine import Settings
from inferwise.units import GIB

QUANTITIES = ("activation", "non-torch", "weights", "kv pool")


@dataclass(frozen=True)
class Compared:
    """A row: what was measured and what is predicted [GiB]."""

    name: str
    tp: int
    measured: dict[str, float]
    predicted: dict[str, float]

    def error(self, quantity: str) -> float:
        return self.predicted[quantity] / self.measured[quantity] - 1


def case_of(row: dict[str, str]) -> Case:
    return deployment(
        resolve(row["model"]),
        hardware(row["accelerator"]),
        engine="vllm",
        engine_version=row["engine_version"],
        degrees={"tp": int(row["tp"]), "pp": int(row["pp"])},
        kv=None if row["kv_format"] == "auto" else row["kv_format"],
        context=int(row["max_model_len"]),
        settings=Settings(gpu_memory_utilization=float(row["gpu_memory_utilization"])),
    )


def compared(path: Path) -> Iterator[Compared]:
    for row in csv.DictReader(path.read_text("utf-8").splitlines()):
        case = case_of(row)
        device = allocate(case).fullest
        stored = stage_weights(case.model, None, case.parallel)[0].total / GIB
        of_count = 1 + float(row["weight_bytes_error_of_parameter_count_pct"]) / 100
        weights = float(row["weights_gib"]) if row["weights_gib"] else stored / of_count
        activation, runtime = float(row["activation_gib"]), float(row["non_torch_gib"])
        share = float(row["gpu_memory_utilization"]) * float(row["device_memory_gib"])
        pool = float(row["kv_pool_gib"]) if row["kv_pool_gib"] else share - weights - activation - runtime
        names = ("activations", "non-torch", "weights", "kv pool")
        yield Compared(
            f"{row['model']} ({row['max_model_len']} tokens, KV {row['kv_format']})",
            int(row["tp"]),
            dict(zip(QUANTITIES, (activation, runtime, weights, pool), strict=True)),
            {q: device.size(name) / GIB for q, name in zip(QUANTITIES, names, strict=True)},
        )


def table(rows: list[Compared]) -> str:
    head = "| model | tp | " + " | ".join(f"{q}: log / ours [GiB]" for q in QUANTITIES) + " |"
    lines = [head, "|---" * (2 + len(QUANTITIES)) + "|"]
    for row in rows:
        cells = (f"{row.measured[q]:.2f} / {row.predicted[q]:.2f} ({row.error(q):+.1%})" for q in QUANTITIES)
        lines.append(f"| {row.name} | {row.tp} | " + " | ".join(cells) + " |")
    for label, of in (("mean of absolute errors", statistics.mean), ("largest", max)):
        cells = (f"{of([abs(row.error(q)) for row in rows]):.2%}" for q in QUANTITIES)
        lines.append(f"| **{label}** | | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(data: str, document: str) -> None:
    rows = list(compared(Path(data)))
    path = Path(document)
    before = path.read_text("utf-8")
    start, end = "<!-- table: benchmarks/memory_vllm.py -->\n", "<!-- end of table -->"
    head, rest = before.split(start)
    path.write_text(head + start + table(rows) + "\n" + end + rest.split(end)[1], "utf-8")
    print(table(rows)[-400:])


if __name__ == "__main__":
    main(*sys.argv[1:])
