"""What joins the ranks of a deployment."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.errors import BadInput
from inferwise.memory.case import Case

SLOTS = 8  # devices of one machine that have no link of their own, where its maker names no number


@dataclass(frozen=True, slots=True)
class Joined:
    """What joins the ranks: the link's name (PCIe for what is none of the devices' own), bytes/s of a rank in each
    direction, and a note where the devices' own link does not reach all of them."""

    link: str
    bytes_per_s: float
    note: str = ""


def joined(case: Case) -> Joined:
    """What joins the ranks of a case. Raises BadInput where they exchange over what has no known rate."""
    device, node, ranks = case.devices[0], case.node, case.parallel.tp
    if case.parallel.devices == 1:
        return Joined(device.link, 1.0)
    own = device.link not in ("none", "")
    reach = device.max_per_node if own else max(device.max_per_node, SLOTS)
    if ranks <= max(reach, 1):
        rate = node.link_bytes_per_s or device.link_bytes_per_s or device.pcie_bytes_per_s
        if rate:
            return Joined(node.link or device.link, rate)
    elif node.host.network_bytes_per_s:
        return Joined("PCIe", node.host.network_bytes_per_s / reach, f"{device.link} joins {reach}: else the network")
    elif device.pcie_bytes_per_s:
        beyond = "others are taken to exchange at PCIe's rate"
        return Joined("PCIe", device.pcie_bytes_per_s, f"{device.link if own else 'a machine'} joins {reach}: {beyond}")
    raise BadInput(
        f"no rate of the link between {len(case.devices)} x {device.name} is known",
        remedy="give pcie_bytes_per_s in a TOML file of your own (docs/hardware.md)",
    )
