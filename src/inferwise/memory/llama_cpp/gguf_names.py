"""The names that GGUF files give to tensors (gguf-py/gguf/tensor_mapping.py), for patterns over them."""

from __future__ import annotations

from inferwise.memory.gguf_mixes import role
from inferwise.spec.tensor import Component, Tensor

ROLES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "output": "attn_output"}
PARTS = {"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
SUFFIX = {Component.EXPERTS: "_exps", Component.SHARED_EXPERTS: "_shexp"}
FUSED_QKV = ("qkv", "query_key_value", "c_attn", "w_pack")
LATENT = {
    "q_a_proj": "attn_q_a", "q_b_proj": "attn_q_b", "kv_a_proj_with_mqa": "attn_kv_a_mqa", "k_b_proj": "attn_k_b",
    "v_b_proj": "attn_v_b", "kv_b_proj": "attn_kv_b",
}  # fmt: skip


def gguf_name(tensor: Tensor) -> str:
    """A layer's tensor by GGUF's name, without `blk.N.` and `.weight`; by the checkpoint's where we know no other."""
    stem, _, kind = tensor.name.rpartition(".")
    leaf = (stem if kind in ("weight", "bias") else tensor.name).rpartition(".")[2]
    ending = ".bias" if kind == "bias" else ""
    if tensor.component is Component.ROUTER:
        return f"ffn_gate_inp{ending}"
    if leaf in LATENT:
        return LATENT[leaf] + ending
    if tensor.component in (Component.MLP, Component.EXPERTS, Component.SHARED_EXPERTS):
        return PARTS.get(role(tensor), "ffn_up") + SUFFIX.get(tensor.component, "") + ending
    if tensor.component is Component.ATTENTION and any(part in leaf for part in FUSED_QKV):
        return f"attn_qkv{ending}"
    known = ROLES.get(role(tensor))
    return f"{known}{ending}" if known else f"{leaf}{ending}"
