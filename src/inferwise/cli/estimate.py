"""`inferwise estimate`: how fast a deployment is under a load, with its memory beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from inferwise.cli.options import (
    ALONE,
    AS_PUBLISHED,
    BY_DEFAULT,
    EVERYWHERE,
    ONE_SEQUENCE,
    PLAIN,
    Explain,
    Extras,
    Flags,
    Formats,
    Hardware,
    Json,
    Load,
    Requests,
)
from inferwise.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from inferwise.memory.case import Case
    from inferwise.memory.changes import Change
    from inferwise.serving.estimate import Estimate
    from inferwise.serving.sweep_load import Point
    from inferwise.spec.model import Model

Svg = Annotated[
    str, Parameter(help="Write the roofline to FILE, and the latency-throughput curve beside it (FILE-curve.svg).")
]
Curve = Annotated[
    bool, Parameter(help="Show latency against throughput, from one request to all that fit.", negative="")
]
Silicon = Annotated[
    bool,
    Parameter(help="Look kernels up in measured tables: pip install 'inferwise[silicon]', 80 MB.", negative=""),
]


def estimate(
    model: str,
    /,
    *,
    load: Load = ONE_SEQUENCE,
    requests: Requests = PLAIN,
    hardware: Hardware = EVERYWHERE,
    formats: Formats = AS_PUBLISHED,
    flags: Flags = BY_DEFAULT,
    extras: Extras = ALONE,
    curve: Curve = False,
    svg: Svg = "",
    silicon: Silicon = False,
    explain: Explain = False,
    json: Json = False,
) -> int:
    """Show how fast a deployment is: TTFT, TPOT, throughput, utilisation, bottleneck and energy, if it fits.

    With --batch so many requests at once, with --concurrency so many in flight, else one at a time. Of prompts 1,024
    tokens and of answers 256 where that is not said.

    Parameters
    ----------
    model
        A catalog name, a Hub id (org/name, org/name@revision, repo:Q4_K_M), a config.json, a folder or a .gguf file.
    """
    from inferwise.read.resolve import resolve
    from inferwise.serving.ask_load import fitted, workload
    from inferwise.serving.estimate import estimate as answer

    if hardware.gpu is None:
        raise BadInput("no device named", remedy="name it by --gpu; `inferwise gpus` lists them")
    chart = _chart(svg) if svg else None
    spec = resolve(model)
    asked = workload(spec, **load.lengths(), **requests.given())
    case, copies = _deployed(spec, hardware, formats, flags, extras)
    case = fitted(case, asked, load.context)
    made = answer(case, asked, replicas=copies, silicon=silicon)
    points = _points(made) if curve or chart else ()
    written = _write(made, points, chart) if chart and made.fits else []
    shown = points if curve else None
    if json:
        print(_json(made, shown, explain=explain))
    else:
        print("\n\n".join(part for part in (*_text(case, made, shown, explain=explain), *written) if part))
    return 0 if made.fits and _whole(made) else 3


def _deployed(model: Model, hardware: Hardware, formats: Formats, flags: Flags, extras: Extras) -> tuple[Case, int]:
    """The deployment that the options ask for, and how many of them the devices hold. Raises BadInput, ..."""
    from inferwise.memory.deploy import deployment, replicas

    node = hardware.node()
    case = deployment(
        model,
        node,
        degrees=hardware.degrees(),
        engine=formats.engine or None,
        engine_version=formats.engine_version or None,
        kv=formats.kv or None,
        state=formats.state or None,
        weights=formats.weights or None,
        settings=flags.settings(hardware.used_gib()),
        **extras.load(),
    )
    return case, replicas(node, case)


def _whole(made: Estimate) -> bool:
    """Whether the load runs as it was asked: a batch that is larger than what fits does not."""
    from inferwise.spec.workload import STATIC, STEADY

    each = -(-made.workload.concurrency // made.replicas)
    return made.workload.protocol not in (STATIC, STEADY) or each <= made.limit


def _json(made: Estimate, points: tuple[Point, ...] | None, *, explain: bool) -> str:
    from inferwise.report.estimate import explain_text
    from inferwise.report.tables import to_json
    from inferwise.serving.sweep_load import as_dicts

    shown = made.to_dict()
    if points is not None:
        shown["curve"] = as_dicts(points)
    if explain and made.fits:
        shown["explanation"] = explain_text(made).splitlines()
    return to_json(shown)


def _text(case: Case, made: Estimate, points: tuple[Point, ...] | None, *, explain: bool) -> list[str]:
    """What is printed: where it does not fit, what `fit` says of it."""
    from inferwise.report.curve import curve_text
    from inferwise.report.estimate import estimate_text, explain_text
    from inferwise.report.fit import changes_text, fit_text

    if not made.fits:
        return [fit_text(made.fit), "what does not fit is not timed"]
    return [
        estimate_text(made),
        "" if _whole(made) else changes_text(_changes(case, made)),
        curve_text(points) if points else "",
        explain_text(made) if explain else "",
    ]


def _changes(case: Case, made: Estimate) -> tuple[Change, ...]:
    """What would make the batch fit that was asked for."""
    from dataclasses import replace

    from inferwise.memory.fit import fit

    return fit(replace(case, batch=-(-made.workload.concurrency // made.replicas))).changes


def _points(made: Estimate) -> tuple[Point, ...]:
    from inferwise.serving.sweep_load import sweep

    return sweep(made)


def _chart(name: str) -> Path:
    """The file of the roofline. Raises BadInput for one that cannot be written."""
    import os
    from pathlib import Path

    path = Path(os.path.expanduser(name))
    if path.suffix.lower() != ".svg" or path.is_dir():
        raise BadInput(f"--svg {name[:100]!r} is no SVG file", remedy="give a file that ends in .svg")
    if not path.parent.is_dir():
        raise BadInput(f"--svg: no folder {str(path.parent)[:100]!r}", remedy="make it first")
    return path


def _write(made: Estimate, points: tuple[Point, ...], roofline: Path) -> list[str]:
    """Write the two charts; what was written."""
    from inferwise.report.curve import curve_svg
    from inferwise.report.roofline import roofline_svg

    curve = roofline.with_name(f"{roofline.stem}-curve{roofline.suffix}")
    roofline.write_text(roofline_svg(made), encoding="utf-8")
    curve.write_text(curve_svg(made, points), encoding="utf-8")
    return [f"wrote {roofline} and {curve}"]
