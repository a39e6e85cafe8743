from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator, accelerators
from inferwise.catalog.hardware import hardware
from inferwise.catalog.nodes import MAX_DEVICES, node, nodes
from inferwise.errors import BadInput, InferwiseError, UnknownName
from inferwise.spec.hardware import Host
from inferwise.units import GIB


def slugs(text: str, count: int | None = None) -> list[str]:
    return [device.slug for device in hardware(text, count).devices]


def test_every_machine_has_devices_and_a_source() -> None:
    assert len(nodes()) > 80
    for slug, machine in nodes().items():
        assert machine.devices, slug
        assert machine.source, slug
        assert machine.uniform, slug
        assert machine == node(slug.upper()) == hardware(slug)
        assert slug not in accelerators()
        try:  # a name of both a machine and a device is of one thing: mac-studio-m3-ultra-512gb
            assert (accelerator(slug),) == machine.devices
        except UnknownName:
            continue


@pytest.mark.parametrize(
    ("name", "devices", "slug", "host_gib"),
    [
        ("dgx-a100", 8, "a100-sxm-80gb", 2048),
        ("dgx-a100-40gb", 8, "a100-sxm-40gb", 1024),
        ("dgx-h100", 8, "h100-sxm-80gb", 2048),
        ("hgx-h200", 8, "h200-sxm-141gb", None),
        ("p5en", 8, "h200-sxm-141gb", 2048),
        ("p5.48xlarge", 8, "h100-sxm-80gb", 2048),
        ("P4DE", 8, "a100-sxm-80gb", 1152),
        ("g5.12xlarge", 4, "a10g", 192),
        ("g6e.48xlarge", 8, "l40s", 1536),
        ("gb200-nvl72", 72, "gb200-186gb", 17280),
        ("gb300 nvl72", 72, "gb300-288gb", 17280),
        ("nd-mi300x-v5", 8, "mi300x", 1850),
        ("mi355x-8", 8, "mi355x", None),
        ("a3-highgpu-8g", 8, "h100-sxm-80gb", 1872),
        ("dgx-spark-pair", 2, "dgx-spark", None),
        ("mac-studio-m3-ultra-512gb", 1, "apple-m3-ultra-512gb", None),
        ("desktop-rtx-4090", 1, "rtx-4090", 64),
    ],
)
def test_machines(name: str, devices: int, slug: str, host_gib: int | None) -> None:
    machine = node(name)
    assert [device.slug for device in machine.devices] == [slug] * devices
    assert machine.host.memory_bytes == (None if host_gib is None else host_gib * GIB)


def test_devices_in_the_order_of_the_text() -> None:
    assert slugs("rtx-4090") == ["rtx-4090"]
    assert slugs("rtx-3090+rtx-3060") == ["rtx-3090", "rtx-3060-12gb"]
    assert slugs("2xrtx-3090+rtx-3060") == ["rtx-3090", "rtx-3090", "rtx-3060-12gb"]
    assert slugs(" 2 x RTX 3090 + 3 × m4-max-64gb ") == ["rtx-3090"] * 2 + ["apple-m4-max-64gb"] * 3
    assert slugs("2x7900-xtx") == ["rx-7900-xtx"] * 2
    assert slugs("Ryzen AI Max+ 395") == ["ryzen-ai-max-395"]
    assert slugs("2xRyzen AI Max+ 395") == ["ryzen-ai-max-395"] * 2
    assert not hardware("rtx-3090+rtx-3060").uniform
    assert hardware("rtx-4090").host == Host()
    assert hardware("2xrtx-3090+3060").slug == "2xrtx-3090+rtx-3060-12gb"
    assert hardware("2xrtx-3090+3060").name == "2 × RTX 3090 + RTX 3060 12GB"


def test_a_count_multiplies_a_single_device() -> None:
    assert slugs("h100", 8) == ["h100-sxm-80gb"] * 8
    assert hardware("h100", 8) == hardware("8xh100")
    assert slugs("dgx-h100", 8) == ["h100-sxm-80gb"] * 8  # as many as it has
    for text in ("dgx-h100", "rtx-3090+rtx-3060", "4xh100", "p5.4xlarge"):
        with pytest.raises(BadInput, match="not 3"):
            hardware(text, 3)


def test_machines_are_counted_with_their_hosts() -> None:
    one, two = hardware("dgx-h100"), hardware("2xdgx-h100")
    assert two.devices == one.devices * 2
    assert (one.host.memory_bytes or 0) * 2 == two.host.memory_bytes
    assert hardware("2xhgx-h200").host == Host()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no hardware named"),
        ("   ", "no hardware named"),
        ("+", "empty name"),
        ("rtx-4090+", "empty name"),
        ("rtx-4090++rtx-3090", "empty name"),
        ("0xh100", "0 of a device"),
        ("9999999xh100", "9,999,999 of a device"),
        ("4000xh100+4000xh100", "too many devices"),
        ("4000xdgx-h100", "32,000 devices"),
        ("rtx-3090+dgx-h100", "machine of its own"),
        ("x" * 2000, "2,000 characters"),
        ("dgx-h10", "dgx-h100"),
        ("rtx-3090+rtx-4900", "rtx-4090"),
        ("no-such-file.toml", "no such file"),
        ("a100", "a100-sxm-80gb"),
        ("g5", "g5.xlarge"),
    ],
)
def test_what_names_no_hardware_is_said(text: str, said: str) -> None:
    with pytest.raises(InferwiseError) as caught:
        hardware(text)
    assert said.lower() in caught.value.line().lower()


@pytest.mark.parametrize("count", [0, -1, MAX_DEVICES + 1])
def test_a_count_that_cannot_be(count: int) -> None:
    with pytest.raises(BadInput, match="count"):
        hardware("h100", count)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "a#b.toml"
    file.write_text('[devices.mine]\nmemory_gib = 48\n[nodes.box]\ndevices = "2xmine+rtx-3060"\n', "utf-8")
    assert slugs(f"{file}#mine") == ["mine"]
    assert slugs(f"{file}#mine", 3) == ["mine"] * 3
    assert slugs(str(file)) == ["mine", "mine", "rtx-3060-12gb"]
    with pytest.raises(UnknownName, match="box"):
        hardware(f"{file}#other")


PIECES = st.sampled_from(
    ["rtx-3090", "h100", "2x", "+", "x", " ", "dgx-h100", "#", ".toml", "m4-max-64gb", "0", "9" * 9]
)


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=6).map("".join)), st.none() | st.integers(-5, 5000))
def test_any_text_is_hardware_or_a_clear_error(text: str, count: int | None) -> None:
    try:
        found = hardware(text, count)
    except InferwiseError as error:
        code, line = error.exit_code, error.line()
    else:
        assert 1 <= len(found.devices) <= MAX_DEVICES
        assert hardware(found.slug).devices == found.devices
        return
    assert code in (2, 4)
    assert 0 < len(line) <= 500
