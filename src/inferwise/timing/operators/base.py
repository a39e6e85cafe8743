"""What every operator is: so many equal kernels of a step, with their work and their seconds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferwise.timing.curves import Curve
from inferwise.timing.step import Quantity, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator(ABC):
    """`count` equal kernels of a step on one device.

    name: for a reader. part: attention, experts, dense, communication, ... (what `explain` adds up). curve: its
    efficiency; basis: how near the measurements behind it are. peak_flops, bytes_per_s: the device's, in what it
    computes in; of what moves over a link or PCIe, the link's. looked_up: of (operator, step, fitted seconds), what
    measured tables say of it (the extra `silicon`); None where the fitted curve alone speaks.
    """

    name: str
    part: str
    count: float
    curve: Curve
    basis: str
    peak_flops: float
    bytes_per_s: float
    looked_up: Callable[[Any, Step, Quantity], Quantity] | None = field(default=None, repr=False, compare=False)

    @abstractmethod
    def load(self, step: Step) -> Quantity:
        """What a step gives it to do (rows, sequences, bytes); it is not run where that is nothing."""

    @abstractmethod
    def one(self, step: Step) -> Quantity:
        """Seconds of one of the kernels, where there is something to do."""

    @abstractmethod
    def work(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs and bytes of one of the kernels, where there is something to do."""

    def timed(self, step: Step) -> Quantity:
        """Seconds of one of the kernels: looked up where they were measured, else fitted."""
        fitted = self.one(step)
        return fitted if self.looked_up is None else self.looked_up(self, step, fitted)

    def seconds(self, step: Step) -> Quantity:
        """Seconds of all of them."""
        load = self.load(step)
        if not isinstance(load, np.ndarray):
            return self.count * self.timed(step) if load > 0 else 0.0
        if load.size and load.min() > 0:
            return self.count * self.timed(step)
        busy = load > 0
        with np.errstate(divide="ignore", invalid="ignore"):  # of steps with nothing to do, which are set to 0
            return np.where(busy, self.count * self.timed(step), 0.0) if busy.any() else 0.0

    def done(self, step: Step) -> tuple[Quantity, Quantity]:
        """FLOPs and bytes of all of them."""
        load = self.load(step)
        if not isinstance(load, np.ndarray):
            if not load > 0:
                return 0.0, 0.0
            flops, moved = self.work(step)
            return self.count * flops, self.count * moved
        busy = load > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            flops, moved = self.work(step)
        return np.where(busy, self.count * flops, 0.0), np.where(busy, self.count * moved, 0.0)

    def shape(self) -> dict[str, Any]:
        """The sizes that do not depend on the step, for a reader."""
        return {}
