"""Cold start: from storage through the host to the devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inferwise.catalog.hardware import hardware
from inferwise.memory.allocation import Allocation
from inferwise.memory.deploy import deployment
from inferwise.memory.engines import allocate
from inferwise.read.resolve import resolve
from inferwise.serving.loading import loading
from inferwise.serving.tiers import prefix_seconds
from inferwise.spec.engine import Settings
from inferwise.spec.hardware import Host

GB = 10**9


def allocation(device: str = "h100-sxm-80gb", tp: int = 1, host: Host | None = None, **settings: Any) -> Allocation:
    node = hardware(device)
    case = deployment(
        resolve("meta-llama/Llama-3.1-8B"),
        replace(node, host=host) if host else node,
        engine="vllm" if "h100" in device else "llama.cpp",
        degrees={"tp": tp},
        settings=Settings(**settings),
        **({} if "h100" in device else {"weights": "Q8_0"}),
    )
    return allocate(case)


def test_the_files_are_read_once_at_the_disks_rate() -> None:
    made = loading(allocation(host=Host(disk_bytes_per_s=4e9)))
    assert made.size_bytes == pytest.approx(16.06e9, rel=0.01)
    assert made.read_s == pytest.approx(made.size_bytes / 4e9)
    four = loading(allocation(tp=4, host=Host(disk_bytes_per_s=4e9)))
    assert four.read_s == made.read_s  # ranks of a machine share the page cache
    assert four.copy_s == pytest.approx(made.copy_s / 4, rel=0.02)  # each has a link of its own
    assert made.seconds == made.read_s + made.copy_s > made.warm_s == made.copy_s


def test_copies_are_not_faster_than_the_link() -> None:
    made = loading(allocation())
    assert made.copy_s > made.size_bytes / 63.008e9


def test_a_drive_is_assumed_where_none_is_known_and_said() -> None:
    unknown, known = loading(allocation()), loading(allocation(host=Host(disk_bytes_per_s=6.9e9)))
    assert unknown.read_s == known.read_s
    assert "assumed" in unknown.note
    assert "assumed" not in known.note
    assert "graph capture" in unknown.note


def test_memory_that_is_shared_needs_no_copy() -> None:
    assert loading(allocation("m4-max")).copy_s == 0


def test_a_prefix_comes_back_from_its_tier() -> None:
    none, host = allocation(), allocation(offload_kv_bytes=64 * GB)
    disk = allocation(disk_kv_bytes=64 * GB, host=Host(disk_bytes_per_s=5e9, disk_bytes=1000 * GB))
    assert prefix_seconds(none, 10_000.0) == 0
    token = 2 * 32 * 8 * 128 * 2
    assert float(prefix_seconds(host, 10_000.0)) == pytest.approx(10_000 * token / (63.008e9 * 0.84), rel=1e-6)
    behind = float(prefix_seconds(disk, 10_000.0)) - float(prefix_seconds(host, 10_000.0))
    assert behind == pytest.approx(10_000 * token / 5e9, rel=1e-6)
    assert float(prefix_seconds(host, 0.0)) == 0


def test_ranks_fetch_their_shares_at_once() -> None:
    one = float(prefix_seconds(allocation(offload_kv_bytes=64 * GB), 10_000.0))
    four = float(prefix_seconds(allocation(tp=4, offload_kv_bytes=64 * GB), 10_000.0))
    assert four == pytest.approx(one / 4)
