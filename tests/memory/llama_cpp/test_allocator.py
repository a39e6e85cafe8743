from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.memory.llama_cpp.allocator import Heap, buffer_bytes
from inferwise.memory.llama_cpp.graph import EXTERNAL, Graph


def test_takes_the_last_of_the_smallest_holes_that_fit() -> None:
    heap = Heap(1)
    places = [heap.take(size) for size in (10, 1, 4, 1, 4, 1)]
    for index in (0, 2, 4):
        heap.give(places[index], (10, 0, 4, 0, 4)[index])
    assert heap.take(4) == places[4]
    assert heap.take(3) == places[2]
    assert heap.take(11) == 21
    assert heap.peak == 32


def test_neighbours_become_one_block() -> None:
    heap = Heap(1)
    first, second, third = heap.take(5), heap.take(5), heap.take(5)
    heap.give(first, 5)
    heap.give(third, 5)
    heap.give(second, 5)
    assert (heap.starts, heap.sizes[0] > 2**60) == ([0], True)


def test_sizes_are_rounded_to_the_alignment() -> None:
    graph = Graph()
    graph.expand(graph.op(1, graph.leaf(1)))
    assert buffer_bytes(graph, 128) == 256


def test_an_operator_overwrites_a_source_that_nothing_else_reads() -> None:
    graph = Graph()
    first = graph.op(100, graph.leaf(0))
    graph.expand(graph.same(graph.same(first)))
    assert buffer_bytes(graph, 1) == 100


def test_but_not_one_that_another_reads_or_sees_through_a_view() -> None:
    graph = Graph()
    first = graph.op(100, graph.leaf(0))
    graph.expand(graph.either(graph.same(first), first))
    assert buffer_bytes(graph, 1) == 200
    graph = Graph()
    first = graph.op(100, graph.leaf(0))
    graph.expand(graph.same(graph.view(first)))
    assert buffer_bytes(graph, 1) == 200


def test_a_written_node_is_never_freed_and_a_cache_takes_nothing() -> None:
    graph = Graph()
    first = graph.op(100, graph.leaf(0))
    graph.expand(graph.write(first, graph.leaf(0), first))
    graph.expand(graph.write(EXTERNAL, graph.op(50, graph.leaf(0))))
    graph.expand(graph.op(50, graph.leaf(0)))
    assert buffer_bytes(graph, 1) == 150


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 10), st.integers(0, 10)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_lies_between_the_largest_live_set_and_the_sum(steps: list[tuple[int, int, int]]) -> None:
    graph = Graph()
    nodes = [graph.leaf(8)]
    for size, left, right in steps:
        nodes.append(graph.op(size, nodes[left % len(nodes)], nodes[right % len(nodes)]))
        graph.expand(nodes[-1])
    last = {node: index for index, node in enumerate(graph.order)}
    for index, node in enumerate(graph.order):
        for source in graph.sources[node]:
            last[source] = max(index, last.get(source, 0))
    read = {source for node in graph.order for source in graph.sources[node]}
    end = len(graph.order)
    live = 0
    for index in range(end):
        alive = [n for n in nodes[1:] if graph.order.index(n) <= index and (last[n] >= index or n not in read)]
        live = max(live, sum(graph.sizes[n] for n in alive))
    assert live <= buffer_bytes(graph, 1) <= sum(graph.sizes)
