"""Which mix a GGUF file of a known size has: unsloth's mixes (UD-...) differ from model to model and over time."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from inferwise.evidence.run_case import Question
from inferwise.memory.case import Case
from inferwise.memory.gguf_mixes import find_mix
from inferwise.memory.placement import stages
from inferwise.memory.weights import GGUF
from inferwise.spec.tensor import Component

# Before 2026 unsloth's files of MoE models had the attention in the mix's own types; since then it stays in Q8_0
# (what the files' sizes in our logs and runs tell). b7500 is of December 2025.
FIRST_OF_2026 = 7500
BUILD = re.compile(r"b(\d{4,6})", re.ASCII)
BASE = re.compile(r"UD-Q(\d)_", re.ASCII)
LEAST_REST = 0.5  # of its estimate: less is another mix


def weight_bytes(case: Case) -> tuple[int, int]:
    """Of the text model as a GGUF file holds it: (experts, all else)."""
    found = [0, 0]
    for stage in stages(case.model, case.weights, case.parallel, mtp=False, encoder=False):
        for each in stage.tensors:
            found[each.component is not Component.EXPERTS] += each.size_bytes
    return found[0], found[1]


def sized(asked: Question, size: int | None = None) -> tuple[Case, float, float]:
    """(case, experts, rest): the case with the mix nearest to the file that ran, and what the file has of that mix's
    bytes in experts and in all else. size: of the file [bytes], None for what the run tells; unknown: as estimated.

    Only unsloth's own mixes are estimates, and are ever taken for another. What such a file lacks is taken from what
    stands beside its experts, whose types are the mix's name; what it has beyond is shared by all.
    """
    case, size = asked.case, size or asked.file_bytes
    if not size:
        return case, 1.0, 1.0
    made = [(each, *weight_bytes(each)) for each in candidates(case)]
    near, experts, rest = min(made, key=lambda each: abs(math.log((each[1] + each[2]) / size)))
    share = (size - experts) / rest
    if experts and LEAST_REST <= share < 1.0:
        return near, 1.0, share
    return near, size / (experts + rest), size / (experts + rest)


def candidates(case: Case) -> tuple[Case, ...]:
    """The case in the mixes that its file may have: before 2026 a plain one in place of unsloth's."""
    match = BASE.match((case.weights or "").removeprefix(GGUF))
    built = BUILD.match(case.engine.version)
    if match is None or match[1] == "8" or built is None or int(built[1]) >= FIRST_OF_2026:
        return (case,)
    plain = (f"Q{match[1]}_K_S", f"Q{match[1]}_K_M", f"Q{match[1]}_K")
    return tuple(replace(case, weights=GGUF + name) for name in plain if find_mix(name) is not None) or (case,)
