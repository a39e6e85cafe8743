"""What machine is at hand: its devices as their drivers give them, and its host."""

from __future__ import annotations

import os
from dataclasses import replace

from inferwise.read.machine import amd, apple, intel, nvidia
from inferwise.read.machine.host import host as read_host
from inferwise.read.machine.world import World
from inferwise.spec.machine import FoundDevice, FoundHost, Machine

__all__ = ["World", "detect"]

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def detect(world: World | None = None) -> Machine:
    """The machine that this runs on. Finding nothing is an answer; what cannot be read is a remark, never an error."""
    world = world or World()
    host, remarks = read_host(world)
    found, told = nvidia.devices(world)
    if not found:
        found = nvidia.jetson(world, host.board)
        told = [] if found else told
    found = [_named(device, host) for device in found]
    remarks += told
    for kind in (amd, intel, apple):
        more, told = kind.devices(world, host)
        found, remarks = found + more, remarks + told
    if world.system not in ("linux", "darwin"):
        remarks.append("AMD and Intel devices are looked for on Linux only, NVIDIA's on every system")
    for name in VISIBLE:
        if found and name in os.environ:
            remarks.append(f"{name} is set: engines started from here see those devices only")
    return Machine(host=host, devices=tuple(_filled(each, host) for each in found), remarks=tuple(remarks))


def _named(device: FoundDevice, host: FoundHost) -> FoundDevice:
    """A Jetson's GPU by its board: NVML's name (`Orin (nvgpu)`) does not tell the boards apart."""
    jetson = device.unified and "jetson" in host.board.lower()
    return replace(device, name=host.board) if jetson else device


def _filled(device: FoundDevice, host: FoundHost) -> FoundDevice:
    """A device of the host's memory whose driver gives no figure: it can take what the host has."""
    if not device.unified or device.memory_bytes or host.memory_bytes is None:
        return device
    used = None if host.available_bytes is None else max(0, host.memory_bytes - host.available_bytes)
    return replace(device, memory_bytes=host.memory_bytes, used_bytes=used)
