"""Dispatch and combine: tokens to the ranks that hold their experts, and the experts' results back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

RESULT_BYTES = 2.0  # results travel back in 16 bits in every engine measured


def distinct_parts(top_k: Any, parts: Any) -> Any:
    """Expected number of distinct parts (ranks or nodes) that hold the top_k experts of one token, all alike.

    >>> round(float(distinct_parts(8, 8)), 2)
    5.25
    """
    count = np.maximum(np.asarray(parts, dtype=float), 1.0)
    return count * -np.expm1(np.asarray(top_k, dtype=float) * np.log1p(-np.minimum(1 / count, 1 - 1e-12)))


def copies(top_k: Any, ranks: Any, nodes: Any, merged: Any) -> tuple[Any, Any]:
    """(copies, crossing): copies of a token that leave its rank, and those of them that leave its node.

    merged 0: one copy an expert (low-latency kernels). 1: one a rank, and one a node over the network, handed on there
    (DeepEP's normal kernels; deepseek-ai/DeepEP, README).
    """
    ranks, nodes = np.maximum(ranks, 1.0), np.minimum(np.maximum(nodes, 1.0), np.maximum(ranks, 1.0))
    once = 1.0 - np.asarray(merged, dtype=float)
    out = (once * top_k + merged * distinct_parts(top_k, ranks)) * (1 - 1 / ranks)
    return out, (once * top_k + merged * distinct_parts(top_k, nodes)) * (1 - 1 / nodes)


def dispatch_seconds(
    tokens: Any,
    *,
    hidden: Any,
    top_k: Any,
    ranks: Any,
    nodes: Any,
    element_bytes: Any,
    link_bytes_per_s: Any,
    c: Mapping[str, float],
) -> Any:
    """Seconds of dispatch and combine of one layer; zero for one rank.

    tokens: of one rank, all ranks alike. element_bytes: of an activation on its way out (8 bits and scales: 1 + 4/128);
    back in 16 bits. link_bytes_per_s: of one device to its peers in the node, one direction. nodes: joined by the
    network and not by that link (a rack of GB200 is one node).
    """
    out, crossing = copies(top_k, ranks, nodes, c["merged"])
    return sent_seconds(
        tokens * np.asarray(hidden, dtype=float) * (element_bytes + RESULT_BYTES),
        out,
        crossing,
        ranks=ranks,
        nodes=nodes,
        link_bytes_per_s=link_bytes_per_s,
        c=c,
    )


def sent_seconds(
    size_bytes: Any, out: Any, crossing: Any, *, ranks: Any, nodes: Any, link_bytes_per_s: Any, c: Mapping[str, float]
) -> Any:
    """Seconds for given copies of size_bytes (of all tokens, both ways).

    c: latency_s, at two ranks; growth, of it with each doubling; efficiency, share of the link; network_latency_s;
    network_bytes_per_s, of one device; p, of the norm between latency and traffic; merged, as copies() takes it. Never
    under what leaves a rank over the link.
    """
    link = size_bytes * out / link_bytes_per_s
    start = c["latency_s"] * (np.maximum(ranks, 2.0) / 2) ** c["growth"] + c["network_latency_s"] * (
        np.asarray(nodes) > 1
    )
    traffic = link / c["efficiency"] + size_bytes * crossing / c["network_bytes_per_s"]
    seconds = np.maximum((start ** c["p"] + traffic ** c["p"]) ** (1 / c["p"]), link)
    return np.where(np.asarray(ranks) > 1, seconds, 0.0)
