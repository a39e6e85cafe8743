"""How much memory ggml's graph allocator reserves: best fit, with operators in place where they may be.

A model of ggml-alloc.c (builds b2900 to b11549): every input is placed before the first node, a node takes over the
memory of a source that nothing else needs, else the smallest hole that holds it, else the end; what has no reader left
is freed, neighbours merged.
"""

from __future__ import annotations

from inferwise.memory.llama_cpp.graph import EXTERNAL, Graph

ENDLESS = 2**62


class Heap:
    """Free blocks by address: `starts` and `sizes`; the last one has no end."""

    __slots__ = ("alignment", "peak", "sizes", "starts")

    def __init__(self, alignment: int) -> None:
        self.alignment, self.peak = alignment, 0
        self.starts, self.sizes = [0], [ENDLESS]

    def padded(self, size: int) -> int:
        """A size rounded up to the backend's alignment."""
        return -(-size // self.alignment) * self.alignment

    def take(self, size: int) -> int:
        """The address of a new piece: the last of the smallest holes that hold it, else the end."""
        sizes, best, best_size = self.sizes, -1, ENDLESS
        for index in range(len(sizes) - 1):
            if size <= sizes[index] <= best_size:
                best, best_size = index, sizes[index]
        start = self.starts[best]
        if sizes[best] == size:
            del self.starts[best], sizes[best]
        else:
            self.starts[best] += size
            sizes[best] -= size
        self.peak = max(self.peak, start + size)
        return start

    def give(self, start: int, size: int) -> None:
        """Frees a piece; neighbours become one block."""
        if not size:
            return
        starts, sizes, index = self.starts, self.sizes, 0
        while starts[index] < start:
            index += 1
        if starts[index] == start + size:
            starts[index] = start
            sizes[index] += size
        else:
            starts.insert(index, start)
            sizes.insert(index, size)
        if index and starts[index - 1] + sizes[index - 1] == start:
            sizes[index - 1] += sizes[index]
            del starts[index], sizes[index]


class Allocator:
    """Walks a graph once; `heap.peak` is the buffer's size."""

    def __init__(self, graph: Graph, alignment: int) -> None:
        self.graph, self.heap = graph, Heap(alignment)
        count = len(graph.sizes)
        self.address, self.held = [0] * count, [False] * count
        self.readers, self.views = [0] * count, [0] * count

    def run(self) -> int:
        """The bytes that the graph needs."""
        graph = self.graph
        for node in graph.leafs:
            self.place(node)
        for node in graph.kept:
            self.readers[node] += 1
        for node in graph.order:
            root = graph.roots[node]
            if root != node and root != EXTERNAL:
                self.views[root] += 1
            for source in graph.sources[node]:
                self.readers[source] += 1
        for node in graph.order:
            self.place(node)
            for source in graph.sources[node]:
                self.release(source)
        return self.heap.peak

    def place(self, node: int) -> None:
        """Gives a node memory: a source's, or its own."""
        graph = self.graph
        if graph.roots[node] != node:
            return
        for source in graph.reuse[node]:
            if graph.roots[source] == source and self.readers[source] == 1 and not self.views[source]:
                self.held[source], self.held[node] = False, True
                self.address[node] = self.address[source]
                return
        self.held[node] = True
        self.address[node] = self.heap.take(self.heap.padded(graph.sizes[node]))

    def release(self, source: int) -> None:
        """One reader of a source less; without readers and views it is freed."""
        graph = self.graph
        self.readers[source] -= 1
        if self.readers[source] or self.views[source]:
            return
        owner = graph.roots[source]
        if owner == EXTERNAL:
            return
        if owner != source:
            self.views[owner] -= 1
            if self.views[owner] or self.readers[owner]:
                return
        if self.held[owner]:
            self.held[owner] = False
            self.heap.give(self.address[owner], self.heap.padded(graph.sizes[owner]))


def buffer_bytes(graph: Graph, alignment: int) -> int:
    """Bytes of the compute buffer that a graph needs on a backend of this alignment."""
    return Allocator(graph, alignment).run()
