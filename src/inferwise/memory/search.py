"""The largest number for which a monotone condition holds, or a falling slack is left, in few trials."""

from __future__ import annotations

from collections.abc import Callable


def largest(holds: Callable[[int], bool], most: int) -> int:
    """The largest number in [0, most] for which a monotone condition holds; 0 where it holds for none above.

    Doubles first: the trials are two for each bit of the answer, not of `most`.
    """
    if not holds(1):
        return 0
    low, high = 1, 2
    while high <= most and holds(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def largest_within(slack: Callable[[int], int], high: int) -> int:
    """The largest number in [0, high] for which a falling `slack` is not negative; 0 where it is for none above.

    Slack is nearly linear, so a line through the ends finds the place; every other step halves, which bounds the steps.
    """
    left, right = slack(1), slack(high)
    if left < 0:
        return 0
    if right >= 0:
        return high
    low, halve = 1, False
    while high - low > 1:
        middle = (low + high) // 2 if halve else low + (high - low) * left // (left - right)
        middle = min(max(middle, low + 1), high - 1)
        found = slack(middle)
        if found >= 0:
            halve = not halve and left - found < (left - right) // 2
            low, left = middle, found
        else:
            halve = not halve and found - right < (left - right) // 2
            high, right = middle, found
    return low
