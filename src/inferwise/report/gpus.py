"""The devices of the catalog, for readers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inferwise.catalog.accelerators import limits
from inferwise.report.tables import table
from inferwise.spec.hardware import Accelerator, Kind
from inferwise.units import GIB, human_bytes

SHORT = {"datacenter": "data centre", "mini-pc": "mini-PC"}


def gpus_dict(devices: Iterable[Accelerator]) -> dict[str, Any]:
    """Devices as plain data: schema `inferwise/gpus/1` (docs/hardware.md)."""
    return {"schema": "inferwise/gpus/1", "gpus": [device_dict(device) for device in devices]}


def device_dict(device: Accelerator) -> dict[str, Any]:
    """One device as plain data, an entry of `inferwise/gpus/1`. Bytes, FLOP/s, watts; null: not known."""
    return {
        "slug": device.slug,
        "name": device.name,
        "aliases": list(device.aliases),
        "vendor": device.vendor,
        "architecture": device.architecture,
        "kind": device.kind.value,
        "market": device.market.value,
        "year": device.year,
        "memory_bytes": device.memory_bytes,
        "reported_bytes": device.reported_bytes,
        "reported_by": device.reported_by,
        "cuda_bytes": device.cuda_bytes,
        "gpu_limit_bytes": device.gpu_limit_bytes,
        "gpu_limit_most_bytes": device.gpu_limit_most_bytes,
        "capacity_bytes": device.capacity_bytes,
        "used_bytes": device.used_bytes,
        "memory_sizes_bytes": list(device.memory_sizes_bytes),
        "memory_bytes_per_s": device.memory_bytes_per_s,
        "dense_flops": dict(device.dense_flops),
        "power_w": device.power_w,
        "link": device.link,
        "link_bytes_per_s": device.link_bytes_per_s,
        "pcie_bytes_per_s": device.pcie_bytes_per_s,
        "max_per_node": device.max_per_node,
        "price_usd": device.price_usd,
        "price_kind": device.price_kind,
        "rent_usd_per_hour": device.rent_usd_per_hour,
        "confidence": device.confidence,
        "mended": list(device.mended),
        "source": device.source,
        "notes": device.notes,
    }


def list_text(devices: Iterable[Accelerator]) -> str:
    """A table of devices, one a line; `-`: not known."""
    rows = [
        (
            device.slug,
            device.vendor,
            f"{device.memory_bytes / GIB:,.4g}",
            f"{device.capacity_bytes / GIB:,.2f}",
            _scaled(device.memory_bytes_per_s, 1e9),
            _scaled(device.dense_flops.get("bf16") or device.dense_flops.get("fp16"), 1e12),
            _scaled(device.dense_flops.get("fp8"), 1e12),
            _scaled(device.power_w, 1),
            SHORT.get(device.market, device.market.value),
        )
        for device in devices
    ]
    if not rows:
        return "no device has all of these words"
    header = ("device", "maker", "GiB", "usable", "GB/s", "16-bit TFLOPS", "FP8", "W", "market")
    lines = table(rows, header=header, right=range(2, 8))
    legend = "usable: GiB that a program can see by default, where known (else the datasheet's); TFLOPS dense"
    return f"{lines}\n\n{len(rows)} devices; {legend}"


def show_text(device: Accelerator, explain: bool = False) -> str:
    """One device; `explain`: with the source of every figure, and what was mended."""
    about = ", ".join(str(each) for each in (device.vendor, device.architecture, device.year) if each)
    market = SHORT.get(device.market, device.market.value)
    lines = [f"{device.name}  ({device.slug}; {about}; {market}, {device.kind.value})", ""]
    lines.append(table(row for row in (*_memory_rows(device), *_other_rows(device)) if row[1]))
    if device.notes:
        lines += ["", f"notes: {device.notes}"]
    return "\n".join((*lines, *(["", *_explained(device)] if explain else [])))


def _memory_rows(device: Accelerator) -> list[tuple[str, str]]:
    """The rows of the memory: by the datasheet, the driver, the system."""
    limit, most = device.gpu_limit_bytes, device.gpu_limit_most_bytes
    raised = f"; a setting raises it to {human_bytes(most)}" if most else ""
    reported = f"{human_bytes(device.reported_bytes)} ({device.reported_by})" if device.reported_bytes else ""
    sizes = ", ".join(f"{size / GIB:g}" for size in device.memory_sizes_bytes)
    shared = "shared with the system" if device.kind is Kind.UNIFIED else ""
    host = "the host's" if device.kind is Kind.CPU else ""
    return [
        ("memory", " ".join(filter(None, (human_bytes(device.memory_bytes), shared or host)))),
        ("  reported", reported),
        ("  a program's total", human_bytes(device.cuda_bytes) if device.cuda_bytes else ""),
        ("  the GPU may take", f"{human_bytes(limit)} by default{raised}" if limit else ""),
        ("  usually in use", human_bytes(device.used_bytes) if device.used_bytes else ""),
        ("  sold with", f"{sizes} GiB" if sizes else ""),
    ]


def _other_rows(device: Accelerator) -> list[tuple[str, str]]:
    """The rows of rates, links, power and money."""
    flops = "  ".join(f"{rate} {flops / 1e12:,.5g}" for rate, flops in device.dense_flops.items())
    link = _with_unit(device.link_bytes_per_s, 1e9, "GB/s each direction")
    price = f"${device.price_usd:,.0f} ({device.price_kind or 'price'})" if device.price_usd is not None else ""
    rent = f"${device.rent_usd_per_hour:.2f} an hour" if device.rent_usd_per_hour is not None else ""
    return [
        ("bandwidth", _with_unit(device.memory_bytes_per_s, 1e9, "GB/s")),
        ("dense TFLOPS", flops),
        ("power", _with_unit(device.power_w, 1, "W")),
        ("link", " ".join(filter(None, (device.link, link))) if device.link != "none" else ""),
        ("to the host", _with_unit(device.pcie_bytes_per_s, 1e9, "GB/s each direction")),
        ("in a machine", f"up to {device.max_per_node}" if device.max_per_node > 1 else ""),
        ("price", price),
        ("rent (preset)", rent),
    ]


def _explained(device: Accelerator) -> list[str]:
    """Where the figures come from."""
    sure = f"; confidence in memory, bandwidth and power: {device.confidence}" if device.confidence else ""
    lines = ["where it comes from", f"  datasheet figures: {device.source}{sure}"]
    if device.reported_bytes:
        lines.append(f"  reported: {device.reported_bytes:,} B of {device.memory_bytes:,} B, by {device.reported_by}")
    if device.limit_rule and device.gpu_limit_bytes:
        share = device.gpu_limit_bytes / device.memory_bytes
        lines.append(f"  the GPU may take: {share:.1%} of the memory; {limits()[device.limit_rule]['source']}")
    if device.memory_bytes_per_s:
        lines += [
            f"  {rate}: compute-bound above {flops / device.memory_bytes_per_s:,.0f} FLOP a byte "
            f"({flops / 1e12:,.5g} TFLOPS / {device.memory_bytes_per_s / 1e9:,.5g} GB/s)"
            for rate, flops in device.dense_flops.items()
        ]
    lines += [f"  mended: {each}" for each in device.mended]
    if device.aliases:
        lines.append(f"  also known as: {', '.join(device.aliases)}")
    return lines


def _scaled(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:,.4g}" if value / unit < 1e4 else f"{value / unit:,.0f}"


def _with_unit(value: float | None, unit: float, name: str) -> str:
    return "" if value is None else f"{value / unit:,.6g} {name}"
