"""Prefixes that come back from a tier of the cache: from the host's memory over PCIe, or from its disk."""

from __future__ import annotations

from inferwise.memory.allocation import Allocation
from inferwise.serving.loading import storage
from inferwise.timing.curves import choose
from inferwise.timing.step import Quantity


def prefix_seconds(allocation: Allocation, prefix: Quantity) -> Quantity:
    """Seconds until the cache of `prefix` tokens is back on the devices; 0 where the case has no tier.

    A prefix is found in the fastest tier that there is: on the host over PCIe, each rank its share at once; else off
    the disk, which all ranks share, and then over PCIe. Reading before computing, as vLLM's connectors do by default
    (0.24, v1/kv_offload: blocks are there before the request is scheduled).
    """
    case, pool = allocation.case, allocation.pool
    settings = case.settings
    if pool is None or not pool.block_tokens or not (settings.offload_kv_bytes or settings.disk_kv_bytes):
        return 0.0 * prefix
    device = case.devices[0]
    token_bytes = pool.block_bytes / pool.block_tokens  # of a rank
    seconds: Quantity = 0.0 * prefix
    if device.pcie_bytes_per_s:
        efficiency = choose("transfer", device, case.engine.name, "pcie").coefficients["efficiency"]
        seconds = seconds + prefix * token_bytes / (device.pcie_bytes_per_s * efficiency)
    if not settings.offload_kv_bytes:
        ranks = len(case.devices) / case.parallel.dp
        seconds = seconds + prefix * token_bytes * ranks / storage(case)[0]
    return seconds
