"""The widest moment of an eager PyTorch forward, from a model's blocks: which tensors of a layer live at once.

Held against live bytes of CPU tensors by benchmarks/transformers_memory.py (torch 2.13, transformers 5.23).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inferwise.spec.attention import Attention
from inferwise.spec.blocks import Block, Layer, Shared
from inferwise.spec.ffn import Experts, Mlp
from inferwise.spec.model import Model


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a layer's forward over a prompt.

    elements: live for each token. where: the block. masked: bytes for each pair of tokens of a prompt longer than
    `window` (the mask of a windowed layer is made then; None: never).
    """

    elements: int
    where: str
    masked: int = 0
    window: int | None = None

    def size_bytes(self, prompt: int, element_bytes: int) -> int:
        """Bytes for one prompt of `prompt` tokens."""
        masked = self.masked * prompt if self.window is not None and prompt > self.window else 0
        return prompt * (self.elements * element_bytes + masked)


def moments(model: Model, data: Mapping[str, Any]) -> tuple[Moment, ...]:
    """The wide moments of a model's forward over a prompt: what lives at once beside the cache.

    Kept: the embeddings, the layer's input, its normed copy, cosines and sines. Attention: q and its rotary products,
    or q in FP32 twice under a norm of q; k and v count as the cache that they become. MLP: activated gate, up and their
    product (and gate and up again where they are one matrix). Experts: rows of each token's experts. The mask of
    windowed layers lives throughout, and once more while attention runs.
    """
    windows = [b.window for layer in model.decoder.kinds for b in layer.blocks if isinstance(b, Attention) and b.window]
    window = min(windows, default=None)
    found = {each for layer in model.decoder.kinds for each in _layer(model, layer, data, window)}
    return tuple(sorted(found, key=lambda each: (-each.elements, each.masked, each.where)))


def widest(known: tuple[Moment, ...], prompt: int, element_bytes: int) -> Moment:
    """The widest of a model's moments for a prompt of `prompt` tokens."""
    return max(known, key=lambda each: each.size_bytes(prompt, element_bytes))


def _layer(model: Model, layer: Layer, data: Mapping[str, Any], window: int | None) -> list[Moment]:
    """The moments of a layer."""
    blocks = [block.block if isinstance(block, Shared) else block for block in layer.blocks]
    turned = max((block.head_dim for block in blocks if isinstance(block, Attention)), default=0)
    kept = data["kept_hidden"] * model.hidden + data["rotary_tables"] * turned
    mask = 0 if window is None else data["mask_bytes"]
    found = [Moment(kept + data["other_widths"] * model.hidden, "norm", mask, window)]
    for block in blocks:
        elements, masked = kept + _block(block, data), mask
        if isinstance(block, (Mlp, Experts)):
            elements += data["mlp_hidden"] * model.hidden
        elif isinstance(block, Attention) and window is not None:
            masked += data["mask_copy_bytes"]
        found.append(Moment(elements, type(block).__name__, masked, window))
    return found


def _block(block: Block, data: Mapping[str, Any]) -> int:
    """Elements a token of a block's own tensors at its widest moment."""
    if isinstance(block, Attention):
        q, kv = block.heads * block.head_dim, block.kv_heads * block.head_dim
        turning = max(data["rotary_widths"] * q, data["turned_widths"] * q + data["rotary_kv_widths"] * kv)
        return int(max(turning, data["norm_widths"] * q if block.qk_norm else 0) + (q if block.gated else 0))
    if isinstance(block, Mlp):
        fused = data["fused_widths"] if block.gated and "gate_up" in "".join(block.names) else 0
        return int((data["mlp_widths"] - (not block.gated) + fused) * block.width)
    if isinstance(block, Experts):
        hidden = block.expert_hidden or block.hidden
        rows = max(data["expert_hidden"] * hidden, hidden + (data["mlp_widths"] + 1) * block.width)
        return int(max(block.top_k * rows, data["mlp_widths"] * block.shared_width))
    return int(data["other_widths"] * max((t.shape[0] for t in block.tensors() if t.linear), default=0))
