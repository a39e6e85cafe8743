"""A language model: its stacks of layers, and what can be counted on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from inferwise.errors import BadInput
from inferwise.spec.blocks import Stack
from inferwise.spec.precision import cache_format
from inferwise.spec.quantization import Quantization
from inferwise.spec.rotary import RotaryTable
from inferwise.spec.state import StateKind, StateLayout, state_bytes
from inferwise.spec.stored import Stored
from inferwise.spec.tensor import Component, Tensor

MAX_TOKENS = 2**40


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model:
    """What a model is made of.

    family: the config's model_type. dtype: of the published weights. tied: the head is the embedding matrix.
    max_context: longest sequence it was made for [tokens]. notes: what a reader of its figures should know.
    assumed: fields that the config left to class defaults. quantization: what the published checkpoint was converted
    to. stored: what the headers of its files say. rotary: tables that engines make of its config.
    """

    name: str
    family: str
    hidden: int
    vocab: int
    stacks: tuple[Stack, ...]
    tied: bool
    dtype: str = "bf16"
    max_context: int | None = None
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    source: str = ""
    quantization: Quantization | None = None
    stored: Stored | None = None
    rotary: tuple[RotaryTable, ...] = ()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.family}, {self.parameters:,} parameters)"

    @property
    def decoder(self) -> Stack:
        """The stack that keeps state and gives tokens (an encoder-only model's: its encoder)."""
        return next((s for s in self.stacks if s.role == "decoder"), self.stacks[0])

    @property
    def parameters(self) -> int:
        """Unique parameters of the model as engines run it: without MTP layers, buffers, or a second tied head."""
        return sum(self.components().values())

    @property
    def active_parameters(self) -> int:
        """Parameters that one text token passes through: no image or audio tower, no routed expert it does not take."""
        roles = {stack.role for stack in self.stacks} - {"mtp", "vision", "audio"}
        return sum(t.active_elements * n for t, n in self.counted_tensors(roles=roles) if not t.buffer)

    @property
    def mtp_parameters(self) -> int:
        """Parameters of multi-token-prediction layers, which checkpoints hold beside the model."""
        return sum(t.elements * n for t, n in self.counted_tensors(roles=("mtp",)) if not t.buffer)

    @property
    def checkpoint_parameters(self) -> int:
        """What the checkpoint is expected to store: with MTP layers and buffers, a tied head once, no scales."""
        roles = {stack.role for stack in self.stacks}
        return sum(t.elements * n for t, n in self.counted_tensors(roles=roles))

    def counted_tensors(self, roles: Iterable[str] | None = None) -> Iterable[tuple[Tensor, int]]:
        """Each tensor with its count of layers, of the stacks of these roles (None: all but MTP)."""
        for stack in self.stacks:
            if stack.role != "mtp" if roles is None else stack.role in roles:
                yield from stack.counted_tensors()

    def components(self) -> dict[Component, int]:
        """Parameters by component; they add up to `parameters`."""
        counts: Counter[Component] = Counter()
        for stack in self.stacks:
            if stack.role == "mtp":
                continue
            for tensor, count in stack.counted_tensors():
                if not tensor.buffer:
                    counts[stack.component or tensor.component] += tensor.elements * count
        return {part: counts[part] for part in Component if counts[part]}

    def state_terms(self, tokens: int, layout: StateLayout) -> dict[StateKind, int]:
        """Bytes that one sequence of `tokens` tokens keeps in all layers, undivided, by kind."""
        terms: Counter[StateKind] = Counter()
        for layer, count in self.decoder.layer_counts():
            for state in layer.state():
                terms[state.kind] += count * state_bytes(state, tokens, layout, self.dtype)
        return {kind: terms[kind] for kind in StateKind if terms[kind]}

    def state_bytes(
        self,
        tokens: int,
        kv: str = "bf16",
        state: str | None = None,
        *,
        convolution: str | None = None,
        index: str | None = None,
        layout: StateLayout | None = None,
    ) -> int:
        """Bytes that one sequence of `tokens` tokens keeps: KV and recurrent state, all layers, undivided.

        kv, state, convolution, index: cache formats (all but kv: None for the model's own). A whole
        `layout` overrides them. Raises BadInput for a length that is not one, UnknownName for a format.
        """
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 <= tokens <= MAX_TOKENS:
            raise BadInput(f"tokens is {tokens!r}", remedy=f"give a whole number from 0 to {MAX_TOKENS}")
        if layout is None:
            layout = StateLayout(
                kv=cache_format(kv),
                index=cache_format(index) if index else None,
                recurrent=cache_format(state) if state else None,
                convolution=cache_format(convolution) if convolution else None,
            )
        return sum(self.state_terms(tokens, layout).values())
