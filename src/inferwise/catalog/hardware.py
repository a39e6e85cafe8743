"""The hardware that a text names: devices or machines of the catalog, or those of a file of one's own."""

from __future__ import annotations

import re

from inferwise.catalog.custom_hardware import load_custom
from inferwise.catalog.nodes import MAX_DEVICES, MAX_TEXT, named, node_of
from inferwise.errors import BadInput
from inferwise.spec.hardware import Host, Node

OWN_FILE = re.compile(r"^(.*\.toml)(?:#(.*))?$", re.DOTALL)


def hardware(text: str, count: int | None = None) -> Node:
    """The devices, and the host where it is known, that a text names.

    `rtx-4090`; `2xrtx-3090+rtx-3060`, unequal devices in this order; `dgx-h100`, a machine; `2xdgx-h100`, two;
    `mine.toml` or `mine.toml#name`, hardware of one's own. `count`: how many of a single device.
    Raises BadInput, UnknownName; WorldFailed where the disk fails.
    """
    if len(text) > MAX_TEXT:
        raise BadInput(f"a text of {len(text):,} characters names no hardware", remedy=f"at most {MAX_TEXT:,}")
    if not text.strip():
        raise BadInput("no hardware named", remedy="give a device such as rtx-4090, or see `inferwise gpus`")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_DEVICES):
        raise BadInput(f"count {str(count)[:40]} of devices", remedy=f"give 1 to {MAX_DEVICES:,}")
    file = OWN_FILE.match(text.strip())
    found = load_custom(file[1], file[2] or "") if file else named(text)
    return found if count is None else _counted(found, count, text)


def _counted(found: Node, count: int, text: str) -> Node:
    """`count` of what is a single device; a machine or several devices must have as many as that."""
    if len(found.devices) == count:
        return found
    if len(found.devices) == 1 and found.host == Host():
        return node_of(found.devices * count)
    what = f"'{text.strip()[:80]}' has {len(found.devices)} devices, not {count}"
    raise BadInput(what, remedy="leave the count out, or write it before a name: 2xrtx-3090+rtx-3060, 2xdgx-h100")
