"""Runs whose prompts are read by some workers and whose answers are written by others: both sides of such a run."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

from inferwise.evidence.cells import degree
from inferwise.evidence.measurements import Run
from inferwise.evidence.run_names import Unpredicted

DEGREES = ("tp", "pp", "ep", "dp", "moe_tp")
SIDES = re.compile(r"P(\d{1,4})/D(\d{1,4})", re.ASCII)
TOLD = re.compile(r"prefill x(\d*) bs\d*, decode x(\d*)", re.ASCII)


def sides(run: Run) -> tuple[Run, Run]:
    """A prefill and a decode worker, each as a run of its own. One degree without sides is of both.

    Raises Unpredicted for degrees that are no whole numbers.
    """
    values: list[dict[str, str]] = [{}, {}]
    for name in DEGREES:
        text = getattr(run, name)
        match = SIDES.fullmatch(text)
        if match is None:
            degree(text)
        for number, side in enumerate(values):
            side[name] = match[number + 1] if match else text
    made = [_side(run, side) for side in values]
    return made[0], made[1]


def workers(run: Run, prefill: Run, decode: Run) -> tuple[int, int]:
    """How many prefill and decode workers a run had. Raises Unpredicted where that is not known.

    The remarks tell it; where they have no word for it, the devices do if only one pair of counts adds up to them.
    Remarks that leave the counts blank come from a source that gives the devices of one worker of each: such a run is
    known only with a single request in flight, for which the counts do not matter.
    """
    told = TOLD.search(run.fact("workers"))
    if told is not None and told[1] and told[2]:
        counts = int(told[1]), int(told[2])
        if min(counts) < 1:
            raise Unpredicted("missing-input", "workers")
        return counts
    if run.concurrency == "1":
        return 1, 1
    each = int(prefill.devices), int(decode.devices)
    found = _pairs(degree(run.devices), *each) if told is None else []
    if len(found) != 1:
        raise Unpredicted("missing-input", "workers")
    return found[0]


def _pairs(devices: int, prefill: int, decode: int) -> list[tuple[int, int]]:
    """Up to two pairs of counts that add up to so many devices."""
    found = []
    for count in range(1, devices // prefill + 1):
        rest = devices - count * prefill
        if rest >= decode and rest % decode == 0:
            found.append((count, rest // decode))
        if len(found) == 2:
            break
    return found


def _side(run: Run, degrees: dict[str, str]) -> Run:
    """A worker with its devices: its degrees, where tp is of one attention group."""
    tp, pp, ep, dp, moe_tp = (degrees[name] for name in DEGREES)
    devices = prod(degree(each) or 1 for each in (tp, pp, dp))
    return replace(run, tp=tp, pp=pp, ep=ep, dp=dp, moe_tp=moe_tp, devices=str(devices), batch_per_replica="")
