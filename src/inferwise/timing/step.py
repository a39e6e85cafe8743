"""What one forward pass works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"
Quantity: TypeAlias = "float | Array"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one replica: scalars, or arrays of one shape for many steps at once.

    decodes: sequences that generate. context: tokens that each of them has cached, on average. queries: tokens that
    each puts in (1, and what is drafted). prompts: sequences that are read in this step; prompt_tokens: new tokens of
    each; past: tokens of each that are cached already. images: patches that the vision tower works on, for all
    prompts; image_patches: of one image, which attend to one another (0: they are all one image's).
    """

    decodes: Quantity = 0.0
    context: Quantity = 0.0
    queries: Quantity = 1.0
    prompts: Quantity = 0.0
    prompt_tokens: Quantity = 0.0
    past: Quantity = 0.0
    images: Quantity = 0.0
    image_patches: Quantity = 0.0

    @property
    def read_tokens(self) -> Quantity:
        """Prompt tokens of all sequences."""
        return self.prompts * self.prompt_tokens

    @property
    def tokens(self) -> Quantity:
        """Tokens that pass through the layers."""
        return self.decodes * self.queries + self.read_tokens

    @property
    def sequences(self) -> Quantity:
        """Sequences that need logits (those being read: once each)."""
        return self.decodes * self.queries + self.prompts
