"""Write docs/timing_runs.md: predictions of whole runs, out of fold, against what others measured.

python benchmarks/predict_runs.py MEASUREMENTS.csv PREDICTED.csv
python benchmarks/runs_table.py MEASUREMENTS.csv PREDICTED.csv
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

OUT = Path(__file__).parents[1] / "docs/timing_runs.md"
RATES = ("output_tok_s", "total_tok_s", "req_s", "prompt_tok_s", "decode_tok_s")
METRICS = ("tpot_ms", "ttft_ms", "latency_ms", *RATES, "power_w", "energy_j_per_output_tok")
BEST_OF = ("lhl_strix_halo", "kyuz0_strix_halo", "kyuz0_strix_halo_depth")  # builds differ: the best of a cell counts
CELL = ("model", "weight_format", "isl", "osl")
SILICON = "aiconfigurator_silicon_sample"
HERE = Path(__file__).parent
COLUMNS = "metric | rows | covered | median | mean | worst fold's median | median of predicted / measured |"


def number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 else None


def best(rows: list[dict[str, str]], metric: str) -> list[dict[str, str]]:
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        key = tuple(row[name] for name in CELL)
        if key not in kept or float(row[metric]) > float(kept[key][metric]):
            kept[key] = row
    return list(kept.values())


def errors(rows: list[dict[str, str]], made: dict[str, dict[str, str]], metric: str) -> list[tuple[float, str]]:
    found = []
    for row in rows:
        value = number(made.get(row["id"], {}).get(metric))
        if value is not None:
            found.append((value / float(row[metric]), row["fold"]))
    return found


def line(name: str, rows: list[dict[str, str]], made: dict[str, dict[str, str]], metric: str) -> str:
    found = errors(rows, made, metric)
    if not found:
        return f"| {name} | {metric} | {len(rows)} | 0 % | – | – | – | – |"
    off = [abs(ratio - 1) for ratio, _ in found]
    folds = [
        statistics.median([abs(ratio - 1) for ratio, fold in found if fold == each]) for each in {f for _, f in found}
    ]
    return (
        f"| {name} | {metric} | {len(rows)} | {len(found) / len(rows):.0%} | {statistics.median(off):.1%} | "
        f"{statistics.fmean(off):.1%} | {max(folds):.1%} | {statistics.median([r for r, _ in found]):.2f} |"
    )


def main() -> None:
    with open(sys.argv[1], newline="") as file:
        measured = list(csv.DictReader(file))
    with open(sys.argv[2], newline="") as file:
        made = {row["id"]: row for row in csv.DictReader(file) if row["status"] == "ok"}
    head, rule = f"| source, protocol | {COLUMNS}", "|---" * 8 + "|"
    lines = [(HERE / "runs_head.md").read_text(encoding="utf-8"), head, rule]
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in measured:
        for metric in METRICS:
            if number(row.get(metric)):
                groups[row["source"], row["protocol"], metric].append(row)
    for (source, protocol, metric), rows in sorted(groups.items()):
        kept = best(rows, metric) if source in BEST_OF else rows
        lines.append(line(f"{source}, {protocol}", kept, made, metric))
    lines += ["", "## The silicon sample's closed loops by deployment", ""]
    lines += [head.replace("source, protocol", "deployment"), rule]
    for metric in ("tpot_ms", "ttft_ms"):
        own: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in measured:
            if row["source"] == SILICON and row["protocol"] == "closed_loop" and number(row[metric]):
                own[
                    f"{row['engine']}, {row['accelerator']}, {row['model'].split('/')[-1]} {row['weight_format']}"
                ].append(row)
        lines += [line(name, rows, made, metric) for name, rows in sorted(own.items())]
    lone = [
        row for row in measured if row["source"] == SILICON and row["concurrency"] == "1" and number(row["ttft_ms"])
    ]
    for protocol in ("closed_loop", "closed_loop_disagg"):
        rows = [row for row in lone if row["protocol"] == protocol]
        lines.append(line(f"all with one request in flight, {protocol}", rows, made, "ttft_ms"))
    lines += ["", "## Argonne by engine and device", "", head.replace("source, protocol", "engine, device"), rule]
    by: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in measured:
        if row["source"].startswith("argonne") and number(row["total_tok_s"]):
            by[f"{row['engine']}, all"].append(row)
            by[f"{row['engine']}, {row['accelerator']}"].append(row)
    lines += [line(name, rows, made, "total_tok_s") for name, rows in sorted(by.items())]
    why = (HERE / "runs_why.md").read_text(encoding="utf-8")
    OUT.write_text("\n".join(lines) + "\n" + why, encoding="utf-8")


if __name__ == "__main__":
    main()
