"""An estimate in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from inferwise.serving.basis import BINDS
from inferwise.serving.estimate_json import device_count, rates

if TYPE_CHECKING:
    from inferwise.serving.estimate import Estimate

# Names for a reader, the field, and how it is shown (the factor of its unit, and the unit).
SHOWN = (
    ("TTFT", "ttft_s", 1e3, "ms"),
    ("TPOT", "tpot_s", 1e3, "ms"),
    ("latency", "latency_s", 1.0, "s"),
    ("output", "output_tok_s", 1.0, "tok/s"),
    ("total", "total_tok_s", 1.0, "tok/s"),
    ("a user", "tok_s_per_user", 1.0, "tok/s"),
    ("decoding at once", "running", 1.0, ""),
    ("MFU", "mfu", 100.0, "%"),
    ("MBU", "mbu", 100.0, "%"),
    ("power", "power_w", 1.0, "W"),
    ("energy", "energy_j_per_output_tok", 1.0, "J an output token"),
    ("cold start", "load_s", 1.0, "s"),
)


def as_html(made: Estimate) -> str:
    """A table of the rates, or why it does not fit."""
    case, work = made.forward.case, made.workload
    title = (
        f"{case.model.name} on {device_count(made)} x {case.devices[0].name}: {work.prompt:,} tokens in, "
        f"{work.output:,} out, {work.concurrency:,} at once ({work.protocol})"
    )
    if not made.fits:
        cells = "".join(f"<tr><td>{escape(text)}" for text in made.fit.allocation.problems)
        return f"<table><caption>{escape(title)}: does not fit</caption>{cells}</table>"
    found = rates(made)
    rows = [(name, f"{found[key] * unit:,.4g} {said}") for name, key, unit, said in SHOWN if found[key] is not None]
    rows.append(("bound by", BINDS[made.bottleneck]))
    cells = "".join(f"<tr><th scope=row align=left>{escape(a)}<td align=right>{escape(b)}" for a, b in rows)
    return f"<table><caption>{escape(title)}</caption>{cells}</table>"
