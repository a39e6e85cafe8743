from __future__ import annotations

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerator
from inferwise.catalog.custom_hardware import MAX_BYTES, load_custom, parse_custom
from inferwise.errors import BadInput, UnknownName, WorldFailed
from inferwise.spec.hardware import Kind, Market
from inferwise.units import GIB, MIB

DOCS = Path(__file__).resolve().parents[2] / "docs" / "hardware.md"

WHOLE = """
[devices.big-4090]
base = "rtx-4090"
name = "RTX 4090 with 48 GB"
memory_gib = 48
tflops = { fp16 = 160 }
price_usd = 3200

[devices.npu-card]
kind = "accelerator"
market = "edge"
vendor = "Someone"
year = 2026
memory_gb = 32
reported_mib = 30000
bandwidth_gb_per_s = 204.8
tflops = { fp16 = 40, int8 = 80 }
power_w = 60
link = "none"
pcie_gb_per_s = 7.9
used_gib = 0.25
source = "its datasheet"

[devices.bigger]
base = "big-4090"
memory_gib = 96

[nodes.bench]
devices = "2xbig-4090+npu-card+rtx-3060"
host_memory_gib = 128
host_bandwidth_gb_per_s = 89.6
disk_gb = 2000
disk_gb_per_s = 7
"""


def test_a_device_of_its_own_and_one_like_another() -> None:
    devices, machines = parse_custom(WHOLE.encode(), "mine.toml")
    own = devices["npu-card"]
    assert (own.kind, own.market, own.vendor, own.year) == (Kind.ACCELERATOR, Market.EDGE, "Someone", 2026)
    assert (own.memory_bytes, own.reported_bytes, own.used_bytes) == (32 * 10**9, 30000 * MIB, GIB // 4)
    assert (own.memory_bytes_per_s, own.power_w, own.pcie_bytes_per_s) == (204.8e9, 60, 7.9e9)
    assert own.dense_flops == {"fp16": 40e12, "int8": 80e12}
    assert (own.slug, own.name, own.source) == ("npu-card", "npu-card", "its datasheet")

    base, like = accelerator("rtx-4090"), devices["big-4090"]
    assert (like.memory_bytes, like.reported_bytes, like.capacity_bytes) == (48 * GIB, None, 48 * GIB)
    assert like.memory_bytes_per_s == base.memory_bytes_per_s
    assert like.dense_flops == {**base.dense_flops, "fp16": 160e12}
    assert "mine.toml" in like.source
    assert "rtx-4090" in like.source
    assert devices["bigger"].price_usd is None  # the price was of the other size
    assert devices["bigger"].memory_bytes == 96 * GIB
    assert devices["bigger"].dense_flops == like.dense_flops

    bench = machines["bench"]
    assert [device.slug for device in bench.devices] == ["big-4090", "big-4090", "npu-card", "rtx-3060-12gb"]
    assert (bench.host.memory_bytes, bench.host.disk_bytes) == (128 * GIB, 2000 * 10**9)
    assert (bench.host.memory_bytes_per_s, bench.host.disk_bytes_per_s) == (89.6e9, 7e9)


def test_a_unified_memory_of_another_size_has_its_limit_by_the_rule() -> None:
    text = '[devices.a]\nbase = "m4-max-64gb"\nmemory_gib = 48\n[devices.b]\nbase = "m4-max"\ngpu_limit_gib = 120\n'
    devices, _ = parse_custom(text.encode(), "mine.toml")
    assert devices["a"].capacity_bytes == int(48 * GIB * 0.78)
    assert devices["b"].capacity_bytes == 120 * GIB


def test_a_machine_like_one_of_the_catalog() -> None:
    _, machines = parse_custom(b'[nodes.a]\nbase = "dgx-h100"\nhost_memory_gib = 1024\n', "mine.toml")
    assert len(machines["a"].devices) == 8
    assert machines["a"].host.memory_bytes == 1024 * GIB
    assert machines["a"].host.disk_bytes == 30720 * 10**9


def test_the_example_of_the_docs_is_read() -> None:
    block = DOCS.read_text("utf-8").split("```toml\n")[1].split("```")[0]
    devices, machines = parse_custom(block.encode(), "docs")
    assert devices
    assert machines


def test_which_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE, "utf-8")
    assert load_custom(str(file)).slug == "bench"  # the only machine
    assert load_custom(str(file), "npu-card").devices[0].slug == "npu-card"
    with pytest.raises(UnknownName, match="big-4090"):
        load_custom(str(file), "other")
    file.write_text("[devices.a]\nmemory_gib = 1\n[devices.b]\nmemory_gib = 1\n", "utf-8")
    with pytest.raises(BadInput, match="which one"):
        load_custom(str(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [devices.NAME]"),
        ("x = 1", "'x' is no field here"),
        ("devices = 3", "devices' is 3"),
        ("[devices]\na = 3", "[devices.a]: 3, not a table"),
        ("[devices.a]\nname = 'x'", "memory_gib' is missing"),
        ("[devices.a]\nmemory_gib = 'much'", "[devices.a]: 'memory_gib' is 'much', not a number"),
        ("[devices.a]\nmemory_gib = true", "not a number"),
        ("[devices.a]\nmemory_gib = 0", "'memory_gib' is 0"),
        ("[devices.a]\nmemory_gib = -1", "'memory_gib' is -1"),
        ("[devices.a]\nmemory_gib = nan", "'memory_gib' is nan"),
        ("[devices.a]\nmemory_gib = inf", "'memory_gib' is"),
        ("[devices.a]\nmemory_gib = 1e30", "'memory_gib' is 1e+30"),
        (f"[devices.a]\nmemory_gib = {'9' * 400}", "too large"),
        ("[devices.a]\nmemory_gib = 1e-12", "less than a byte"),
        ("[devices.a]\nmemory_gib = 1\nmemory_gb = 1", "say the same"),
        ("[devices.a]\nmemory_gib = 1\nreported_gib = 2", "more than the memory"),
        ("[devices.a]\nmemory_gib = 1\nused_gib = 1", "leaves nothing"),
        ("[devices.a]\nmemory_gib = 1\nbandwidth_gb_per_s = []", "'bandwidth_gb_per_s' is list"),
        ("[devices.a]\nmemory_gib = 1\nkind = 'toaster'", "gpu, unified, cpu, accelerator"),
        ("[devices.a]\nmemory_gib = 1\nmarket = 1979-05-27", "'market' is date"),
        ("[devices.a]\nmemory_gib = 1\nyear = 2025.5", "'year' is 2025.5"),
        ("[devices.a]\nmemory_gib = 1\ntflops = 3", "'tflops' is 3"),
        ("[devices.a]\nmemory_gib = 1\ntflops = { fp17 = 3 }", "'fp17' is no field"),
        ("[devices.a]\nmemory_gib = 1\ntflops = { fp16 = 0 }", "'fp16' is 0"),
        ("[devices.a]\nmemory_gib = 1\nmemory_sizes_gib = []", "not a list of 1 to 50"),
        ("[devices.a]\nmemory_gib = 1\nmemory_sizes_gib = ['a']", "not a number"),
        ("[devices.a]\nmemory_gib = 1\nname = ''", "'name' is ''"),
        ('[devices.a]\nmemory_gib = 1\nname = "\\u001b[31m"', "printable"),
        ("[devices.a]\nmemory_gib = 1\nmemmory = 2", "'memmory' is no field here"),
        ("[devices.a]\nbase = 'rtx-4900'", "rtx-4090"),
        ("[devices.a]\nbase = 4090", "'base' is 4090"),
        ("[devices.a]\nbase = 'b'\n[devices.b]\nmemory_gib = 1", "unknown device 'b'"),
        ("[devices.'a+b']\nmemory_gib = 1", "no '+'"),
        ("[nodes.a]\nname = 'x'", "'devices' is missing"),
        ("[nodes.a]\ndevices = ''", "'devices' is ''"),
        ("[nodes.a]\ndevices = 'rtx-4900'", "[nodes.a]: devices: unknown device"),
        ("[nodes.a]\ndevices = 'h100'\nhost_memory_gib = 'x'", "'host_memory_gib' is 'x'"),
        ("[nodes.a]\nbase = 'dgx-h1000000'", "no machine of the catalog"),
        ("[devices.a\n", "not TOML"),
        ("[devices.a]\nmemory_gib = 1\nmemory_gib = 2", "not TOML"),
    ],
)
def test_a_bad_value_is_named_with_file_device_and_field(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_custom(text.encode(), "mine.toml")
    line = caught.value.line()
    assert line.startswith("mine.toml")
    assert said in line
    assert len(line) <= 500


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="UTF-8"):
        parse_custom(b"\xff\xfe", "mine.toml")
    with pytest.raises((BadInput, WorldFailed)):
        load_custom(str(tmp_path / "none.toml"))
    with pytest.raises(BadInput, match="directory"):
        load_custom(str(tmp_path))
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(BadInput, match="bytes"):
        load_custom(str(big))
    with pytest.raises(BadInput, match="at most 500"):
        parse_custom("".join(f"[devices.d{i}]\nmemory_gib = 1\n" for i in range(501)).encode(), "mine.toml")


def test_deep_nesting_is_bad_input() -> None:
    with pytest.raises(BadInput):
        parse_custom(b"a = " + b"[" * 100_000, "mine.toml")


VALUES = st.one_of(
    st.integers(-(10**12), 10**400),
    st.floats(),
    st.booleans(),
    st.text(max_size=20),
    st.just("rtx-4090"),
    st.just("unified"),
    st.lists(st.integers(), max_size=3),
)
FIELDS = st.sampled_from(
    [
        "base", "name", "kind", "market", "year", "memory_gib", "memory_gb", "reported_mib", "reported_gib",
        "gpu_limit_gib", "used_gib", "bandwidth_gb_per_s", "link_gb_per_s", "pcie_gb_per_s", "power_w", "tflops",
        "max_per_node", "price_usd", "rent_usd_per_hour", "memory_sizes_gib", "devices", "host_memory_gib", "disk_gb",
    ]
)  # fmt: skip


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" if not 0xD800 <= ord(c) < 0xE000 else "?" for c in value) + '"'
    if isinstance(value, float):
        return ("-" if value < 0 else "") + "inf" if math.isinf(value) else "nan" if math.isnan(value) else repr(value)
    return repr(value)


@settings(max_examples=300)
@given(st.sampled_from(["devices", "nodes"]), st.dictionaries(FIELDS, VALUES, max_size=5))
def test_any_table_is_hardware_or_bad_input(group: str, fields: dict[str, object]) -> None:
    text = f"[{group}.a]\n" + "".join(f"{field} = {toml(value)}\n" for field, value in fields.items())
    assert tomllib.loads(text)
    try:
        devices, machines = parse_custom(text.encode(), "mine.toml")
    except BadInput as error:
        line = error.line()
    else:
        line = "mine.toml"
        for device in [*devices.values(), *(each for machine in machines.values() for each in machine.devices)]:
            assert device.capacity_bytes > 0
            assert 0 <= device.used_bytes < device.memory_bytes
            assert all(0 < flops < math.inf for flops in device.dense_flops.values())
            assert device.memory_bytes_per_s is None or 0 < device.memory_bytes_per_s < math.inf
    assert line.startswith("mine.toml")


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_file_is_hardware_or_bad_input(data: st.DataObject) -> None:
    content = bytearray(WHOLE.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=10))
    line = "mine.toml"
    try:
        devices, machines = parse_custom(bytes(content), "mine.toml")
    except BadInput as error:
        line = error.line()
    else:
        assert devices or machines
    assert line.startswith("mine.toml")
