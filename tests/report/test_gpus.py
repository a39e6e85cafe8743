from __future__ import annotations

import json
from dataclasses import fields

from inferwise.catalog.accelerators import accelerator, accelerators, search
from inferwise.report.gpus import device_dict, gpus_dict, list_text, show_text
from inferwise.spec.hardware import Accelerator


def test_the_list_has_a_line_a_device() -> None:
    text = list_text(accelerators().values())
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert set(accelerators()) <= set(lines)
    assert lines["h100-sxm-80gb"].split() == [
        "h100-sxm-80gb", "NVIDIA", "80", "79.19", "3,350", "989.4", "1,979", "700", "data", "centre",
    ]  # fmt: skip
    assert lines["raspberry-pi-5-8gb"].split()[-2:] == ["12", "edge"]
    assert f"{len(accelerators())} devices" in text
    assert max(map(len, text.splitlines())) <= 130


def test_no_device_is_said() -> None:
    assert list_text(search(["no-such-word"])) == "no device has all of these words"


def test_a_device_is_shown_with_what_is_known() -> None:
    text = show_text(accelerator("m4-max-64gb"))
    for part in ("64.00 GiB", "51.84 GiB by default", "48, 64, 128 GiB", "546 GB/s", "fp16 17", "laptop"):
        assert part in text
    assert "reported" not in text
    assert "where it comes from" not in text
    strix = show_text(accelerator("strix halo"))
    assert "64.00 GiB by default; a setting raises it to 110.00 GiB" in strix


def test_explain_names_sources_and_mends_and_ridge_points() -> None:
    text = show_text(accelerator("h100"), explain=True)
    for part in ("aiconfigurator h100_sxm.yaml", "confidence", "high", "85,029,615,042 B", "above 295 FLOP a byte"):
        assert part in text
    assert "mended: memory_bytes" in show_text(accelerator("mi250"), explain=True)
    assert "recommendedMaxWorkingSetSize" in show_text(accelerator("m4-max"), explain=True)
    for device in accelerators().values():
        assert device.source in show_text(device, explain=True)


def test_json_has_every_field_of_a_device() -> None:
    told = gpus_dict(accelerators().values())
    assert told["schema"] == "inferwise/gpus/1"
    assert json.loads(json.dumps(told)) == told
    assert len(told["gpus"]) == len(accelerators())
    one = device_dict(accelerator("rtx-4090"))
    assert set(one) == {field.name for field in fields(Accelerator)} - {"limit_rule"} | {"capacity_bytes"}
    assert one["memory_bytes"] == 24 * 2**30
    assert one["capacity_bytes"] == one["cuda_bytes"] < one["reported_bytes"] == 24564 * 2**20
    assert one["dense_flops"]["fp16"] == 165.2e12
    assert one["rent_usd_per_hour"] == 0.5
