"""What devices draw at a utilisation: between idle and the power limit (power.json, fitted to measured runs)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from inferwise.spec.hardware import Accelerator

FILE = Path(__file__).with_name("power.json")


@cache
def _fitted() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def busy_share(mfu: float, mbu: float) -> float:
    """Watts as a share of the power limit, at these shares of the 16-bit peak and of the bandwidth.

    scale * (mbu + compute * mfu) ^ exponent, at least idle and at most the limit. Never falls in either.

    >>> busy_share(0.0, 0.0) < busy_share(0.02, 0.4) < busy_share(0.5, 0.5) <= 1
    True
    """
    made = _fitted()
    found = made["scale"] * (mbu + made["compute"] * mfu) ** made["exponent"]
    return float(min(1.0, max(made["idle"], found)))


def watts(devices: Sequence[Accelerator], mfu: float, mbu: float) -> float | None:
    """Watts of all devices together at a utilisation; None where a device's limit is not known."""
    limits = [device.power_w for device in devices]
    if any(limit is None for limit in limits):
        return None
    return sum(limit for limit in limits if limit is not None) * busy_share(mfu, mbu)
