"""A compute graph as ggml builds it: expressions, put in order when they are first needed."""

from __future__ import annotations

EXTERNAL = -1  # the memory of weights and caches, which the graph's allocator does not own


class Graph:
    """Nodes by number.

    sizes: in bytes. roots: whose memory a view shows (itself for a node with memory of its own, EXTERNAL for one in a
    cache). reuse: sources whose memory the node may take over; a view's never is. kept: what no reader frees. leafs,
    order: as ggml's depth-first search meets them (ggml.c, ggml_visit_parents).
    """

    __slots__ = ("kept", "leafs", "order", "reuse", "roots", "seen", "sizes", "sources")

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.sources: list[tuple[int, ...]] = []
        self.roots: list[int] = []
        self.reuse: list[tuple[int, ...]] = []
        self.seen: list[bool] = []
        self.leafs: list[int] = []
        self.order: list[int] = []
        self.kept: list[int] = []

    def _add(self, size: int, sources: tuple[int, ...], root: int | None, reuse: tuple[int, ...]) -> int:
        number = len(self.sizes)
        self.sizes.append(size)
        self.sources.append(sources)
        self.roots.append(number if root is None else root)
        self.reuse.append(reuse)
        self.seen.append(False)
        return number

    def leaf(self, size: int) -> int:
        """An input of so many bytes."""
        return self._add(size, (), None, ())

    def op(self, size: int, *sources: int) -> int:
        """A result of so many bytes."""
        return self._add(size, sources, None, ())

    def same(self, source: int, *others: int) -> int:
        """A result with the layout of its first source, which it may overwrite."""
        return self._add(self.sizes[source], (source, *others), None, (source,))

    def either(self, left: int, right: int) -> int:
        """A result of two sources of its own layout, of which it may overwrite one."""
        return self._add(self.sizes[left], (left, right), None, (left, right))

    def view(self, source: int, size: int | None = None) -> int:
        """A source's memory in another shape, or `size` bytes of it."""
        return self._add(self.sizes[source] if size is None else size, (source,), self.roots[source], ())

    def write(self, into: int, *sources: int) -> int:
        """A write into a node's memory, or into a cache (EXTERNAL)."""
        return self._add(0, sources, into, ())

    def expand(self, node: int) -> None:
        """Puts a node in order, behind all that it needs."""
        if self.seen[node]:
            return
        self.seen[node] = True
        for source in self.sources[node]:
            if not self.seen[source]:
                self.expand(source)
        if self.sources[node]:
            self.order.append(node)
        else:
            self.leafs.append(node)
