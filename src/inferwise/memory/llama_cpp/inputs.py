"""What a compute graph is reserved for, and its input tensors (src/llama-graph.cpp, llm_graph_input_*)."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.memory.llama_cpp.graph import Graph
from inferwise.spec.attention import Attention, LatentAttention
from inferwise.spec.blocks import Block

F16, F32, I32, I64 = 2, 4, 4, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One micro-batch as llama.cpp reserves it.

    tokens: of the micro-batch, of `sequences` sequences, `outputs` of them with logits; slots: sequences there are.
    cells, window_cells: that a token of a full and of a windowed layer may see. windowed: whether the model has two
    caches. flash: flash attention. k_rotated, v_rotated: whether the cache is quantised, and so rotated. kv_cast:
    whether it is in F32, which flash attention takes in F16. Traits of a build: mixed: tokens and embeddings come
    together; fused_glu: one operator joins gate and up; half_mask: masks come in F16, and are not cast;
    indexed_writes: the cache is written by row indices.
    """

    tokens: int
    sequences: int
    slots: int
    outputs: int
    cells: int
    window_cells: int = 0
    windowed: bool = False
    flash: bool
    k_rotated: bool = False
    v_rotated: bool = False
    kv_cast: bool = False
    mixed: bool = True
    fused_glu: bool = True
    half_mask: bool = True
    indexed_writes: bool = True


@dataclass(frozen=True, slots=True)
class CacheInputs:
    """The inputs of one KV cache. k_indices, v_indices: where tokens are written; None: by a copy into a view."""

    cells: int
    mask: int
    k_indices: int | None
    v_indices: int | None
    k_rotation: int | None
    v_rotation: int | None


class Inputs:
    """The inputs that layers share, made when first asked for."""

    def __init__(self, graph: Graph, shape: Shape, hidden: int, *, copies: int = 1) -> None:
        self.graph, self.shape, self.hidden, self.copies = graph, shape, hidden, copies
        self.positions = self.leaf(shape.tokens * I32)
        self.out_ids = self.leaf(shape.outputs * I32)
        self.state_ids = self.leaf(shape.slots * I32)
        self._caches: dict[tuple[bool, int, int], CacheInputs] = {}

    def leaf(self, size: int) -> int:
        """An input; in a pipeline it has copies, which nothing frees (ggml-backend.cpp, GGML_SCHED_MAX_COPIES)."""
        made = self.graph.leaf(size)
        if self.copies > 1:
            self.graph.kept.append(made)
            for _ in range(self.copies - 1):
                self.graph.expand(self.graph.leaf(size))
        return made

    def handed_over(self) -> int:
        """The residual stream as another backend computed it."""
        return self.leaf(self.shape.tokens * self.hidden * F32)

    def masks_of(self, block: Block) -> None:
        """The inputs of a layer that another backend runs: the host has them too."""
        made = None
        if isinstance(block, Attention):
            v_dim = block.v_dim or block.head_dim
            made = self.cache(block.window, block.head_dim, v_dim, block.kv_heads * v_dim)
        elif isinstance(block, LatentAttention):
            made = self.cache(block.window, 0, 0, block.kv_rank)
        for each in (made.mask, made.k_indices, made.v_indices) if made else ():
            if each is not None:
                self.graph.expand(each)

    def embedding(self) -> int:
        """The first layer's input: rows of the embedding matrix."""
        graph, tokens = self.graph, self.shape.tokens
        rows = tokens * self.hidden * F32
        made = graph.op(rows, graph.leaf(tokens * I32))
        graph.expand(made)
        if self.shape.mixed:
            graph.expand(graph.leaf(rows))
            looked_up = graph.op(rows, graph.leaf(tokens * I32))
            given = graph.op(rows, graph.leaf(rows))
            graph.expand(looked_up)
            graph.expand(given)
            graph.expand(graph.write(given, looked_up, graph.leaf(tokens * I64), given))
        return made

    def cast_bytes(self, cache: CacheInputs, kv_values: tuple[int, int]) -> list[int]:
        """Bytes of the copies of K and V that flash attention needs, where the cache has them in F32."""
        streams = self.shape.sequences
        return [cache.cells * streams * values * F16 for values in kv_values] if self.shape.kv_cast else []

    def cache(self, window: int | None, k_dim: int, v_dim: int, v_width: int) -> CacheInputs:
        """The cache of a layer: `v_width` values of V a token, heads of `k_dim` and `v_dim` (0: never rotated)."""
        shape, graph = self.shape, self.graph
        inside = shape.windowed and window is not None
        key = inside, k_dim, v_dim
        if key not in self._caches:
            cells = shape.window_cells if inside else shape.cells
            masked = shape.tokens * cells
            indices = shape.tokens * I64
            mask = self.leaf(masked * (F16 if shape.flash and shape.half_mask else F32))
            if shape.flash and not shape.half_mask:
                mask = graph.op(masked * F16, mask)
            self._caches[key] = CacheInputs(
                cells=cells,
                mask=mask,
                k_indices=self.leaf(indices) if shape.indexed_writes else None,
                v_indices=self.leaf(indices * (1 if shape.flash else v_width)) if shape.indexed_writes else None,
                k_rotation=self.leaf(rotation_width(k_dim) ** 2 * F32) if shape.k_rotated and k_dim else None,
                v_rotation=self.leaf(min(64, rotation_width(v_dim)) ** 2 * F32) if shape.v_rotated and v_dim else None,
            )
        return self._caches[key]


def rotation_width(dim: int) -> int:
    """The largest power of two that divides a head's width."""
    return dim & -dim
