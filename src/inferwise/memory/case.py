"""The question that an accounting answers: this model, dealt so over these devices, by this engine, for this load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inferwise.errors import BadInput
from inferwise.spec.deployment import Parallel
from inferwise.spec.engine import Engine, Lora, Settings
from inferwise.spec.hardware import Accelerator, Node
from inferwise.spec.model import MAX_TOKENS, Model
from inferwise.spec.state import StateLayout

MAX_BATCH = 2**20
ONE_DEVICE = Parallel()
DEFAULTS = Settings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A deployment and its load.

    node: one device a rank, those of a pipeline stage together. context: tokens of a sequence, prompt and answer.
    batch: sequences held at once. weights: format to convert to (None: as published). layout: of the state, by engine
    and the formats asked for. draft: a draft model for speculation, in the format `draft_weights`; speculative_tokens:
    drafted per step. mtp: whether the model's MTP layers are loaded. encoder: whether the image or audio tower is
    (False: text only). Raises BadInput for a length or batch that is not one, and for a wrong count of devices.
    """

    model: Model
    node: Node
    engine: Engine
    parallel: Parallel = ONE_DEVICE
    context: int = 8192
    batch: int = 1
    weights: str | None = None
    layout: StateLayout
    settings: Settings = DEFAULTS
    draft: Model | None = None
    draft_weights: str | None = None
    speculative_tokens: int = 0
    mtp: bool = False
    encoder: bool = True
    lora: Lora | None = None

    def __post_init__(self) -> None:
        for name, value, high in (("context", self.context, MAX_TOKENS), ("batch", self.batch, MAX_BATCH)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
                raise BadInput(f"{name} is {value!r}", remedy=f"give a whole number from 1 to {high}")

    @property
    def devices(self) -> tuple[Accelerator, ...]:
        """The devices, in order of ranks."""
        return self.node.devices

    def setting(self, name: str) -> Any:
        """A flag: as the user gave it, else the version's default. Raises KeyError where the engine has none."""
        given = getattr(self.settings, name, None)
        return self.engine.defaults[name] if given is None else given

    def used_bytes(self, device: Accelerator) -> int:
        """What other programs already take of a device."""
        return device.used_bytes if self.settings.used_bytes is None else self.settings.used_bytes
