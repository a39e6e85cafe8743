"""Attention and recurrences: the kernels of a layer's mixer, by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.blocks import Block, Shared
from inferwise.spec.compressed import CompressedAttention
from inferwise.spec.convolved_attention import ConvolvedAttention
from inferwise.spec.linear_attention import GatedDeltaNet, KimiDelta, LightningAttention, MLstm
from inferwise.spec.precision import bits_per_element
from inferwise.spec.recurrent import GatedRecurrence, Mamba, Mamba2, Rwkv, ShortConv
from inferwise.spec.state import State, StateKind, state_format
from inferwise.timing.decompose.site import Site
from inferwise.timing.operators.attention import DecodeAttention, PrefillAttention
from inferwise.timing.operators.base import Operator
from inferwise.timing.operators.latent import LatentBmm, LatentDecode, LatentPrefill, SparseDecode, SparsePrefill
from inferwise.timing.operators.recurrent import Convolution, RecurrentDecode, Scan
from inferwise.units import ceil_div


def mixer(site: Site, block: Block, count: int) -> Iterator[Operator]:
    """The kernels of a block beside its linear layers, in `count` layers; none for what is no mixer."""
    if isinstance(block, Shared):
        block = block.block
    found = KINDS.get(type(block))
    if found is not None:
        yield from found(site, block, count)


def _attention(site: Site, block: Any, count: int) -> Iterator[Operator]:
    if isinstance(block, Attention) and (block.cross or not block.causal):
        return
    v_dim = getattr(block, "v_dim", 0) or block.head_dim
    yield from _softmax(site, count, block.heads, block.kv_heads, block.head_dim, v_dim, block.window or 0)


def _softmax(
    site: Site, count: int, heads: int, kv_heads: int, head_dim: int, v_dim: int, window: int
) -> Iterator[Operator]:
    """Attention of prompts and of decodes over heads dealt to this device."""
    parallel = site.case.parallel
    ranks = parallel.attention_tp // parallel.cp
    sizes: dict[str, Any] = {
        "heads": float(ceil_div(heads, ranks)),
        "kv_heads": float(ceil_div(kv_heads, ranks)),
        "head_dim": float(head_dim),
        "v_dim": float(v_dim),
        "window": float(window if site.case.layout.windows else 0),
        "kv_bytes": site.kv_bytes,
        "share": 1 / parallel.dp,
        "tokens_share": 1 / parallel.cp,
    }
    # context parallelism gathers queries for decodes alone; prompts are read with the rank's own heads
    own = {"heads": float(ceil_div(heads, parallel.attention_tp))}
    own["kv_heads"] = float(ceil_div(kv_heads, parallel.attention_tp))
    name = "window attention" if window else "attention"
    for kind, kernel in ((PrefillAttention, "prefill"), (DecodeAttention, "decode")):
        common = site.common(
            f"{name}, {kernel}", "attention", count, f"attention_{kernel}", site.kv_label, site.kv_compute
        )
        yield kind(**common, **(sizes | own if kernel == "prefill" else sizes))


def _latent(site: Site, block: LatentAttention, count: int) -> Iterator[Operator]:
    """MLA: keys and values expanded for prompts, absorbed into the queries for decodes; or by a sparse index."""
    parallel = site.case.parallel
    ranks = parallel.attention_tp // parallel.cp
    heads, share = float(ceil_div(block.heads, ranks)), 1 / parallel.dp
    own = float(ceil_div(block.heads, parallel.attention_tp))  # gathered over the context's ranks for decodes alone
    sizes: dict[str, Any] = {
        "heads": heads,
        "kv_rank": float(block.kv_rank),
        "nope": float(block.nope),
        "rope": float(block.rope),
        "v_dim": float(block.v_dim),
        "kv_bytes": site.kv_bytes,
        "share": share,
        "tokens_share": 1 / parallel.cp,
    }
    if block.index_heads:
        index: dict[str, Any] = {
            "index_heads": float(block.index_heads if block.index_weights else 0),
            "index_dim": float(block.index_dim),
            "topk": float(block.index_topk or 2048),
        }
        for sparse, kernel in ((SparsePrefill, "prefill"), (SparseDecode, "decode")):
            common = site.common(
                f"sparse attention, {kernel}", "attention", count, f"sparse_{kernel}", site.kv_label, site.kv_compute
            )
            yield sparse(**common, **sizes, **index)
    else:
        for kind, kernel in ((LatentPrefill, "prefill"), (LatentDecode, "decode")):
            common = site.common(
                f"latent attention, {kernel}", "attention", count, f"latent_{kernel}", site.kv_label, site.kv_compute
            )
            yield kind(**common, **(sizes | {"heads": own} if kernel == "prefill" else sizes))
    always = bool(block.index_heads)  # sparse attention is absorbed for prompts too
    for name, rows, columns in (
        ("into the latent", block.nope, block.kv_rank),
        ("out of it", block.kv_rank, block.v_dim),
    ):
        yield LatentBmm(
            **site.common(f"absorption {name}", "projections", count, "latent_bmm", "bf16"),
            heads=own,
            inner=float(rows),
            outer=float(columns),
            share=share,
            prompts=always,
        )


def _compressed(site: Site, block: CompressedAttention, count: int) -> Iterator[Operator]:
    """DeepSeek-V4: a window of whole tokens, and compressed entries behind it, all or those that an index selects."""
    yield from _softmax(site, count, block.heads, 1, block.head_dim, block.head_dim, block.window)
    if not block.ratio:
        return
    parallel = site.case.parallel
    sizes: dict[str, Any] = {
        "heads": float(ceil_div(block.heads, parallel.attention_tp // parallel.cp)),
        "kv_rank": float(block.head_dim - block.rope),
        "nope": float(block.head_dim - block.rope),
        "rope": float(block.rope),
        "v_dim": float(block.head_dim),
        "kv_bytes": site.kv_bytes,
        "share": 1 / parallel.dp,
        "tokens_share": 1 / (parallel.cp * block.ratio),
        "index_heads": float(block.index_heads),
        "index_dim": float(block.index_dim),
        "topk": float(block.index_topk or 2**20),
    }
    for kind, kernel in ((SparsePrefill, "prefill"), (SparseDecode, "decode")):
        common = site.common(
            f"compressed attention, {kernel}", "attention", count, f"sparse_{kernel}", site.kv_label, site.kv_compute
        )
        yield kind(**common, **sizes)


def _recurrent(site: Site, block: Block, count: int) -> Iterator[Operator]:
    """A recurrence over a state of constant size, by its heads, keys and values."""
    label, key_heads, heads, key_dim, value_dim, channels, kernel = _shape(block)
    parallel = site.case.parallel
    ranks, share = parallel.attention_tp, 1 / parallel.dp
    if heads:
        sizes: dict[str, Any] = {
            "key_heads": float(ceil_div(key_heads, ranks)),
            "value_heads": float(ceil_div(heads, ranks)),
            "key_dim": float(key_dim),
            "value_dim": float(value_dim),
            "state_bytes": state_bytes_per_element(site, block),
            "share": share,
        }
        for kind, phase in ((Scan, "prefill"), (RecurrentDecode, "decode")):
            yield kind(**site.common(f"{label}, {phase}", "recurrent", count, "recurrent", f"{label}_{phase}"), **sizes)
    if channels:
        for phase in ("prefill", "decode"):
            yield Convolution(
                **site.common(f"convolution, {phase}", "recurrent", count, "recurrent", f"conv_{phase}"),
                channels=channels / min(ranks, channels),
                taps=float(kernel),
                decodes=phase == "decode",
                share=share,
            )


def _shape(block: Any) -> tuple[str, int, int, int, int, int, int]:
    """A recurrence as label, key heads, value heads, key width, value width, convolved channels and their kernel."""
    if isinstance(block, GatedDeltaNet):
        keys, values = block.key_heads * block.key_dim, block.value_heads * block.value_dim
        return (
            "gdn",
            block.key_heads,
            block.value_heads,
            block.key_dim,
            block.value_dim,
            2 * keys + values,
            block.kernel,
        )
    if isinstance(block, KimiDelta):
        inner = block.heads * block.head_dim
        return ("kda", block.heads, block.heads, block.head_dim, block.head_dim, 3 * inner, block.kernel)
    if isinstance(block, LightningAttention):
        return ("mamba2", block.heads, block.heads, block.head_dim, block.head_dim, 0, 0)
    if isinstance(block, MLstm):
        keys, values = block.keys // block.heads, block.values // block.heads
        return ("mamba2", block.heads, block.heads, keys, values, 0, 0)
    if isinstance(block, Mamba2):
        channels = block.heads * block.head_dim + 2 * block.groups * block.state_size
        return ("mamba2", block.groups, block.heads, block.state_size, block.head_dim, channels, block.kernel)
    if isinstance(block, Mamba):
        return ("mamba2", 1, max(1, block.inner // 64), block.state_size, 64, block.inner, block.kernel)
    if isinstance(block, GatedRecurrence):
        return ("mamba2", block.heads, block.heads, 1, block.width // block.heads, block.width, block.kernel)
    if isinstance(block, Rwkv):
        state = next(each for each in block.state() if each.kind is StateKind.RECURRENT)
        width = max(1, round(state.elements / block.inner))
        return ("mamba2", max(1, block.inner // width), max(1, block.inner // width), width, width, 0, 0)
    assert isinstance(block, ShortConv)
    return ("conv", 0, 0, 0, 0, block.hidden, block.kernel)


def state_bytes_per_element(site: Site, block: Block) -> float:
    """Of the recurrent state, in the layout of the case."""
    carried: State | None = next((each for each in block.state() if each.kind is StateKind.RECURRENT), None)
    if carried is None:
        return 2.0
    return float(bits_per_element(state_format(carried, site.case.layout, site.case.model.dtype))) / 8


KINDS: dict[type[Block], Callable[[Site, Any, int], Iterator[Operator]]] = {
    Attention: _attention,
    ConvolvedAttention: _attention,
    LatentAttention: _latent,
    CompressedAttention: _compressed,
    GatedDeltaNet: _recurrent,
    KimiDelta: _recurrent,
    LightningAttention: _recurrent,
    MLstm: _recurrent,
    Mamba: _recurrent,
    Mamba2: _recurrent,
    GatedRecurrence: _recurrent,
    Rwkv: _recurrent,
    ShortConv: _recurrent,
}
