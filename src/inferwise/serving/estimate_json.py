"""An estimate as plain data: schema `inferwise/estimate/1` (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inferwise.serving.basis import basis_shares, bound_shares, curve_error, merged, relief
from inferwise.timing.table import Row

if TYPE_CHECKING:
    from inferwise.serving.estimate import Estimate

SCHEMA = "inferwise/estimate/1"
WORKLOAD = ("protocol", "input", "output", "concurrency", "prefix", "images", "image_tokens", "acceptance")
DEGREES = ("tp", "pp", "ep", "dp", "cp")


def as_dict(made: Estimate) -> dict[str, Any]:
    """Everything that was asked and answered; numbers are null where nothing fits or nothing is generated."""
    case = made.fit.case
    return {
        "schema": SCHEMA,
        "model": case.model.name,
        "parameters": case.model.parameters,
        "active_parameters": case.model.active_parameters,
        "devices": [device.slug for device in made.forward.case.devices],
        "parallel": {name: getattr(case.parallel, name) for name in DEGREES},
        "replicas": made.replicas,
        "engine": case.engine.name,
        "engine_version": case.engine.version,
        "weights": case.weights,
        "kv_format": case.layout.kv,
        "workload": {name: getattr(made.workload, name) for name in WORKLOAD},
        "context": case.context,
        "fits": made.fits,
        "max_running": int(made.limit) * made.replicas,
        "memory": _memory(made),
        **(rates(made) if made.fits else dict.fromkeys(RATES)),
        "profile": {name: getattr(made.forward.profile, name) for name in ("name", "runs", "error", "source")},
        "decode": _step(made.decode) if made.fits else None,
        "prefill": _step(made.prefill) if made.fits else None,
        "changes": [change.to_dict() for change in made.fit.changes],
        "notes": list(made.notes),
    }


RATES = (
    *("ttft_s", "tpot_s", "latency_s", "request_per_s", "output_tok_s", "total_tok_s", "prompt_tok_s"),
    *("tok_s_per_user", "output_tok_s_per_device", "total_tok_s_per_device", "running", "waiting"),
    *("prefill_s", "decode_s", "mfu", "mbu", "bottleneck", "relief"),
    *("power_w", "energy_j_per_output_tok", "load_s"),
)


def rates(made: Estimate) -> dict[str, Any]:
    """The numbers of a load that runs. waiting: requests that memory keeps in the queue, on average."""
    devices = device_count(made)
    tokens = made.workload.output
    found = {name: getattr(made, name) for name in RATES if hasattr(made, name)}
    found |= {
        "tpot_s": made.tpot_s if tokens > 1 else None,
        "decode_s": made.decode_s if made.decode else None,
        "tok_s_per_user": 1 / made.tpot_s if tokens > 1 else None,
        "output_tok_s_per_device": made.output_tok_s / devices,
        "total_tok_s_per_device": made.total_tok_s / devices,
        "running": made.running * made.replicas,
        "waiting": waiting(made),
        "relief": relief(made.decode or made.prefill, made.bottleneck),
    }
    return {name: found[name] for name in RATES}


def device_count(made: Estimate) -> int:
    """Devices of all replicas."""
    return made.replicas * len(made.forward.case.devices)


def waiting(made: Estimate) -> float:
    """Requests in flight that memory leaves no room for."""
    return max(0.0, made.workload.concurrency - made.limit * made.replicas)


def _memory(made: Estimate) -> dict[str, Any]:
    """Of the fullest device with one such request."""
    fullest = made.fit.allocation.fullest
    return {
        "device": fullest.device.slug,
        "total_bytes": fullest.total_bytes,
        "capacity_bytes": fullest.capacity_bytes,
        "host_bytes": made.fit.allocation.host_bytes,
        "problems": list(made.fit.allocation.problems),
    }


def _step(rows: Sequence[Row]) -> dict[str, Any] | None:
    """A step: what its time stands on, and its operators."""
    if not rows:
        return None
    return {
        "seconds": sum(row.seconds for row in rows),
        "basis": basis_shares(rows),
        "bound": bound_shares(rows),
        "curve_error": curve_error(rows),
        "operators": [_row(row) for row in merged(rows)],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "stage": row.stage,
        "name": row.name,
        "part": row.part,
        "count": row.count,
        "shape": {name: _number(value) for name, value in row.shape.items()},
        "seconds": row.seconds,
        "share": row.share,
        "flops": row.flops,
        "bytes": row.bytes_moved,
        "intensity": row.intensity,
        "bound": row.bound,
        "utilisation": row.utilisation,
        "source": row.source,
        "basis": row.basis,
        "error": row.error,
    }


def _number(value: Any) -> Any:
    """Whole numbers without a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
