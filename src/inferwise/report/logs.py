"""A log, alone or beside its prediction, for readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inferwise.evidence.log_comparison import Comparison
from inferwise.evidence.logs.engine_log import EngineLog
from inferwise.evidence.row import Row
from inferwise.report.tables import table
from inferwise.units import GIB, human_bytes

SCHEMA = "inferwise/log/1"


def log_dict(log: EngineLog, comparison: Comparison | None = None, why_not: str = "") -> dict[str, Any]:
    """The log and, where there is one, its comparison. why_not: why there is none."""
    return {
        "schema": SCHEMA,
        "log": log.to_dict(),
        "comparison": None if comparison is None else comparison.to_dict(),
        "not_compared": why_not or None,
    }


def log_text(log: EngineLog, comparison: Comparison | None = None, why_not: str = "") -> str:
    """The log's facts, its terms beside ours, and what was not found in it."""
    parts = ["\n".join(_facts(log))]
    if comparison is None:
        parts.append(_terms(log))
        parts.append(f"not compared: {why_not}" if why_not else "")
    else:
        parts.append(_rows(comparison))
    notes = [f"note: {text}" for text in (*log.remarks, *(comparison.notes if comparison else ()))]
    notes += [f"not in the log: {'; '.join(log.unread)}"] if log.unread else []
    parts.append("\n".join(notes))
    return "\n\n".join(part for part in parts if part)


def _facts(log: EngineLog) -> Iterator[str]:
    version = f" {log.version}" if log.version else ""
    kind = ", ".join(text for text in (log.weights, log.dtype) if text)
    yield f"{log.engine}{version}: {log.model or log.model_name or 'model not named'}" + (f" ({kind})" if kind else "")
    degrees = [f"{name} {getattr(log, name)}" for name in ("tp", "pp", "dp", "ep", "cp") if getattr(log, name) > 1]
    settings = {
        "context": log.context,
        "sequences": log.max_num_seqs,
        "batched tokens": log.max_num_batched_tokens,
        "micro-batch": log.ubatch,
        "utilisation": log.utilization,
        "KV format": log.kv_format,
        "layers on devices": None if log.gpu_layers is None else f"{log.gpu_layers} of {log.layers}",
    }
    shown = [f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in settings.items() if v is not None]
    if degrees or shown:
        yield "  " + ", ".join((*degrees, *shown))
    told: set[tuple[str, int | None]] = set()
    for device in log.devices:
        if (device.name or device.total_bytes) and (device.name, device.total_bytes) not in told:
            told.add((device.name, device.total_bytes))
            memory = f", {human_bytes(device.total_bytes)}" if device.total_bytes else ""
            yield f"  {device.label + ': ' if device.label else ''}{device.name or 'device'}{memory}"


def _terms(log: EngineLog) -> str:
    rows = [(f"  {term.name}", term.device, _size(term.size_bytes)) for term in log.terms]
    if log.kv_tokens is not None:
        rows.append(("  kv tokens", "", f"{log.kv_tokens:,}"))
    if log.max_concurrency is not None:
        rows.append((f"  concurrency at {log.max_concurrency_context or 0:,}", "", f"{log.max_concurrency:,.2f}"))
    return table(rows, header=("  term", "device", "logged"), right=(2,))


def _rows(comparison: Comparison) -> str:
    """The table, and below it where each difference comes from."""
    rows = [
        (
            f"  {row.term}",
            row.device,
            _figure(row, row.logged),
            _figure(row, row.predicted),
            _figure(row, row.difference, signed=True),
            "equal" if row.equal else "" if row.relative is None else f"{row.relative:+.1%}",
        )
        for row in comparison.rows
    ]
    header = ("  term", "device", "logged", "predicted", "difference", "")
    why = [
        f"  {row.term}{f' ({row.device})' if row.device else ''}: {row.explanation}"
        for row in comparison.rows
        if row.explanation and not row.equal
    ]
    text = table(rows, header=header, right=(2, 3, 4, 5))
    return "\n".join((text, "", "where they differ", *why)) if why else text


def _figure(row: Row, value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    sign = "+" if signed and value > 0 else ""
    if row.unit == "bytes":
        return sign + _size(value)
    return f"{sign}{value:,.0f}" if row.unit == "tokens" else f"{sign}{value:,.2f}"


def _size(value: float) -> str:
    """Bytes for a reader, also negative ones; a large one's GiB to 0.01 as engines print them."""
    size = human_bytes(abs(value)) if abs(value) < GIB else f"{abs(value) / GIB:,.2f} GiB"
    return f"-{size}" if value < 0 else size
