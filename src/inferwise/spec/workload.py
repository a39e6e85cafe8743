"""What is asked of a deployment, and how the load is driven."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.errors import BadInput
from inferwise.spec.model import MAX_TOKENS

MAX_REQUESTS = 2**20
# How a load is driven (docs/timing.md): one request at a time; so many at once, started and finished together; so
# many in flight, each finished one replaced; a running batch, without its prompts; everything queued at once.
SINGLE, STATIC, CLOSED, STEADY, OFFLINE = "single_stream", "static_batch", "closed_loop", "steady_batch", "offline"
PROTOCOLS = (SINGLE, STATIC, CLOSED, STEADY, OFFLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests of `input` prompt tokens and `output` answered ones, `concurrency` of them at once.

    concurrency: over the whole deployment, its replicas together. prefix: tokens of a prompt whose KV is already
    cached. images: of a request; image_tokens: that each adds to the prompt, and `patches` that the encoder works on
    (0: four a token). acceptance: tokens that a step of speculative decoding yields on average, the verified one
    included (1: none drafted is accepted). equal_lengths: of a closed loop, whether all requests have just these
    lengths, so that those that begin together end together. Raises BadInput for what cannot be asked.
    """

    protocol: str = CLOSED
    input: int = 1024
    output: int = 256
    concurrency: int = 1
    prefix: int = 0
    images: int = 0
    image_tokens: int = 256
    patches: int = 0
    acceptance: float = 1.0
    equal_lengths: bool = False

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise BadInput(f"protocol is {self.protocol[:40]!r}", remedy=f"give {', '.join(PROTOCOLS)}")
        lows = {"input": 1, "output": 0, "prefix": 0, "images": 0, "image_tokens": 0, "patches": 0}
        for name, low in lows.items():
            _whole(name, getattr(self, name), low, MAX_TOKENS)
        _whole("concurrency", self.concurrency, 1, MAX_REQUESTS)
        if self.prefix >= self.input:
            raise BadInput(
                f"prefix {self.prefix} leaves nothing of an input of {self.input}", remedy="leave at least a token"
            )
        if not 1 <= self.acceptance <= 64:
            raise BadInput(f"acceptance is {self.acceptance}", remedy="give tokens a step, from 1 to 64")

    @property
    def prompt(self) -> int:
        """Tokens of a prompt with its images."""
        return self.input + self.images * self.image_tokens


def _whole(name: str, value: int, low: int, high: int) -> None:
    """Raises BadInput for what is no whole number between the two."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"{name} is {value!r}", remedy=f"give a whole number from {low} to {high:,}")
