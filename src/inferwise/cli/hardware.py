"""`inferwise gpus` and `inferwise detect`: the devices that we know, and the machine at hand."""

from __future__ import annotations

from inferwise.cli.options import Explain, Json


def gpus(*words: str, explain: Explain = False, json: Json = False) -> int:
    """List devices, search them by words, or show one.

    Parameters
    ----------
    words
        Nothing: list all. A device: show it. Words (maker, generation, laptop, phone, ...): the devices that have them.
    """
    from inferwise.catalog.accelerators import accelerator, accelerators, search
    from inferwise.errors import UnknownName
    from inferwise.report import gpus as report
    from inferwise.report.tables import to_json

    found = search(words) if words else list(accelerators().values())
    one = None
    if words:
        try:
            one = accelerator(" ".join(words))
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
