"""One quantity of a log beside our prediction of it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A quantity, as logged and as predicted. None: not printed, or no such term in our accounting.

    device: where, in logs that tell it; unit: `bytes`, `tokens` or `sequences`; resolution: one unit of the logged
    figure's last digit.
    """

    term: str
    device: str
    unit: str
    logged: float | None
    predicted: float | None
    resolution: float
    explanation: str

    @property
    def difference(self) -> float | None:
        """Predicted less logged."""
        return None if self.logged is None or self.predicted is None else self.predicted - self.logged

    @property
    def relative(self) -> float | None:
        """The difference as a share of what was logged."""
        return None if self.difference is None or not self.logged else self.difference / abs(self.logged)

    @property
    def equal(self) -> bool:
        """Whether they differ by no more than the log's rounding."""
        return self.difference is not None and abs(self.difference) <= self.resolution


def bytes_row(name: str, place: str, logged: int | None, predicted: int | None, resolution: int, how: str) -> Row:
    """A row of bytes, with what its difference is at first sight."""
    row = Row(
        term=name,
        device=place,
        unit="bytes",
        logged=logged,
        predicted=predicted,
        resolution=resolution,
        explanation="",
    )
    if predicted is None:
        return replace(row, explanation="our accounting has no such term")
    if logged is None:
        return replace(
            row, explanation=f"the log does not print it; ours: {how}" if how else "the log does not print it"
        )
    if row.equal:
        return replace(row, explanation="equal to the log's rounding")
    return replace(row, explanation=f"ours: {how}" if how else "")


def folded(name: str) -> str:
    """A term's name as it is compared: the log's `non_torch` is our `non-torch`, `kv_pool` our `kv pool`."""
    name = name.lower().replace("non_torch", "non-torch").replace("_", " ")
    return "kv pool" if name == "kv-pool" else name
