"""How long a prompt's state takes from the devices that read it to those that write the answer."""

from __future__ import annotations

from inferwise.catalog.nodes import nodes
from inferwise.errors import BadInput
from inferwise.memory.case import Case
from inferwise.memory.state import device_state_bytes
from inferwise.spec.hardware import Accelerator

SERVER = 8  # devices that share a link in a server; a link that joins more joins a rack (NVL72)


def transfer_seconds(prefill: Case, decode: Case, tokens: int) -> float:
    """Seconds for the state of one prompt to reach the decode worker, all of the prompt at once.

    Each device sends or receives what it holds of the sequence over its own link, the ranks beside each other; the side
    whose devices hold more sets the time. Raises BadInput where no rate is known.
    """
    held = max(_held_bytes(each, tokens) for each in (prefill, decode))
    return held / min(between_workers(each) for each in (prefill, decode))


def between_workers(case: Case) -> float:
    """Bytes/s from a device to another worker's, each direction.

    The link of a rack where that joins more than a server; else the device's part of its machine's network, or of that
    of the first machine in the catalog that has such devices and a published network; else the device's PCIe.
    Raises BadInput where none is known.
    """
    device, node = case.devices[0], case.node
    if device.max_per_node > SERVER and device.link_bytes_per_s:
        return device.link_bytes_per_s
    if node.host.network_bytes_per_s:
        return node.host.network_bytes_per_s / len(node.devices)
    rate = _usual_network(device) or device.pcie_bytes_per_s
    if not rate:
        raise BadInput(
            f"no rate of the network between machines with {device.name} is known",
            remedy="give network_gbit_per_s in a TOML file of your own (docs/hardware.md)",
        )
    return rate


def _held_bytes(case: Case, tokens: int) -> int:
    """State of one sequence on the device that holds most of it."""
    return device_state_bytes(case.model, tokens, case.layout, case.parallel)


def _usual_network(device: Accelerator) -> float | None:
    """A device's part of the network of the machines that it is sold in (datasheets: catalog/nodes.toml)."""
    for node in nodes().values():
        if node.devices[0].slug == device.slug and node.host.network_bytes_per_s and len(node.devices) >= SERVER:
            return node.host.network_bytes_per_s / len(node.devices)
    return None
