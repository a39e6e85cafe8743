"""One model over all hardware, and one machine over all models, for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from inferwise.memory.survey import Holds, Runs
from inferwise.report.fit import longest_text
from inferwise.report.tables import table
from inferwise.spec.hardware import Node
from inferwise.spec.model import Model
from inferwise.units import human_bytes, human_count


def hardware_text(model: Model, rows: Sequence[Holds], context: int, batch: int) -> str:
    """Which hardware holds a model, how many of each, and how much more it would hold."""
    header = ("device", "memory", "count", "engine", "sequences", "longest context")
    shown = [
        (
            row.device.slug,
            human_bytes(row.device.capacity_bytes),
            str(row.count) if row.count else "no",
            row.allocation.case.engine.name if row.allocation else "",
            f"{row.allocation.max_batch:,}" if row.allocation else "",
            longest_text(row.allocation.max_context, model.max_context) if row.allocation else "",
        )
        for row in rows
    ]
    held = sum(1 for row in rows if row.count)
    return "\n".join(
        (
            f"{model.name}: {model.parameters:,} parameters ({human_count(model.parameters)}); "
            f"{held} of {len(rows)} devices hold {batch:,} x {context:,} tokens",
            "",
            table(shown, header=header, right=(1, 2, 4, 5)),
            "",
            f"count: the smallest number that holds it; sequences: of {context:,} tokens at once; longest context: "
            f"of {batch:,} at once; --gpu DEVICE shows one in full",
        )
    )


def catalog_text(node: Node, rows: Sequence[Runs], most: int | None = 40) -> str:
    """What a machine runs, the largest models first."""
    counts = Counter(device.name for device in node.devices)
    names = " + ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())
    if not rows:
        return f"{names}: holds no model of the catalog"
    header = ("model", "parameters", "active", "weights", "memory", "sequences", "longest context")
    shown = [
        (
            row.model.name,
            human_count(row.model.parameters),
            human_count(row.model.active_parameters),
            row.weights,
            human_bytes(row.allocation.fullest.total_bytes + row.allocation.host_bytes),
            f"{row.allocation.max_batch:,}",
            longest_text(row.allocation.max_context, row.model.max_context),
        )
        for row in rows[:most]
    ]
    case = rows[0].allocation.case
    more = len(rows) - len(shown)
    lines = [
        f"{names}: {len(rows)} models of the catalog fit with {case.engine.name}, "
        f"{case.batch:,} x {case.context:,} tokens",
        "",
        table(shown, header=header, right=(1, 2, 4, 5, 6)),
        "",
        "the largest first, each in the widest format that fits; below four bits last",
    ]
    return "\n".join([*lines, f"and {more:,} more (--all)"] if more else lines)
