"""`inferwise gpus` and `inferwise detect`: the devices that we know, and the machine at hand."""

from __future__ import annotations

from inferwise.cli.options import Explain, Json


def gpus(*words: str, explain: Explain = False, json: Json = False) -> int:
    """List devices or machines, search devices by words, or show one.

    Parameters
    ----------
    words
        Nothing: list all devices; `machines`: all machines. A device or a machine: show it. Words (maker, generation,
        laptop, phone, 24gb+, ...): the devices that have them.
    """
    from inferwise.catalog.accelerators import accelerator, accelerators, search
    from inferwise.catalog.nodes import find_node, nodes
    from inferwise.errors import UnknownName
    from inferwise.report import gpus as report
    from inferwise.report import nodes as machines
    from inferwise.report.tables import to_json

    named = " ".join(words)
    if named == "machines":
        every = list(nodes().values())
        print(to_json(machines.nodes_dict(every)) if json else machines.nodes_text(every))
        return 0
    node = find_node(named) if words else None
    if node is not None:
        print(to_json(machines.nodes_dict([node])) if json else machines.node_text(node))
        return 0
    found = search(words) if words else list(accelerators().values())
    one = None
    if words:
        try:
            one = accelerator(named)
        except UnknownName:
            if not found:
                raise
    if one is not None:
        print(to_json(report.gpus_dict([one])) if json else report.show_text(one, explain))
    else:
        print(to_json(report.gpus_dict(found)) if json else report.list_text(found))
    return 0


def detect(*, json: Json = False) -> int:
    """Show the machine at hand: devices, host, and what could not be read. Nothing found is an answer."""
    from inferwise.read.machine import detect as look
    from inferwise.report.machine import machine_dict, machine_text
    from inferwise.report.tables import to_json

    machine = look()
    print(to_json(machine_dict(machine)) if json else machine_text(machine))
    return 0
