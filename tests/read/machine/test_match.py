from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwise.catalog.accelerators import accelerators
from inferwise.read.machine.match import matching, matching_host, name_of
from inferwise.spec.hardware import Accelerator, Kind, Market
from inferwise.spec.machine import FoundDevice, FoundHost
from inferwise.units import GIB, MIB

GPU, UNIFIED, CPU = Kind.GPU, Kind.UNIFIED, Kind.CPU
ENTRIES = (
    ("NVIDIA", GPU, {"V100 PCIe 16GB": 16, "V100 SXM2 16GB": 16, "V100 SXM2 32GB": 32, "T4": 16, "A10G": 24}),
    ("NVIDIA", GPU, {"A100 PCIe 40GB": 40, "A100 SXM4 40GB": 40, "A100 PCIe 80GB": 80, "A100 SXM4 80GB": 80}),
    ("NVIDIA", GPU, {"H100 PCIe 80GB": 80, "H100 SXM5 80GB": 80, "H100 NVL 94GB": 94, "H200 SXM 141GB": 141}),
    ("NVIDIA", GPU, {"H200 NVL 141GB": 141, "GH200 96GB": 96, "GH200 144GB": 144, "B200 SXM 180GB": 180, "L40": 48}),
    ("NVIDIA", GPU, {"L40S": 48, "L4": 24, "GB200 (per GPU)": 186, "RTX 6000 Ada": 48, "RTX A6000": 48}),
    ("NVIDIA", GPU, {"RTX PRO 6000 Blackwell Workstation": 96, "RTX PRO 6000 Blackwell Server": 96}),
    ("NVIDIA", GPU, {"GeForce RTX 4090": 24, "RTX 4080": 16, "RTX 4080 SUPER": 16, "RTX 4060 Ti 16GB": 16}),
    ("NVIDIA", UNIFIED, {"DGX Spark GB10": 128, "Jetson AGX Orin 64GB": 64, "Jetson AGX Orin 32GB": 32}),
    ("NVIDIA", UNIFIED, {"Jetson Orin NX 16GB": 16, "Jetson Orin Nano 8GB Super": 8, "Jetson AGX Thor T5000": 128}),
    ("AMD", GPU, {"MI300X": 192, "MI250X": 128, "RX 7900 XTX": 24, "RX 7900 XT": 20, "Radeon PRO W7900": 48}),
    ("AMD", UNIFIED, {"Ryzen AI Max+ 395 (Strix Halo)": 128, "Ryzen AI 9 HX 370": 32}),
    ("Apple", UNIFIED, {"Apple M4": 32, "Apple M4 Pro": 64, "Apple M4 Max (40-core)": 128}),
    ("Intel", GPU, {"Arc B580": 12, "Arc A770 16GB": 16, "Data Center GPU Max 1550": 128}),
    ("Intel", UNIFIED, {"Core Ultra 9 288V (Lunar Lake)": 32}),
    ("AMD CPU", CPU, {"EPYC 9654 (96c Genoa)": 768, "Ryzen 9 9950X": 192, "Threadripper PRO 7995WX": 512}),
    ("Intel CPU", CPU, {"Xeon Platinum 8480+ (56c SPR, AMX)": 512, "Core i9-14900K": 192}),
    ("Broadcom", CPU, {"Raspberry Pi 5 8GB": 8}),
)
KNOWN = {
    name: Accelerator(slug=name, name=name, vendor=vendor, kind=kind, memory_bytes=size * GIB)
    for vendor, kind, names in ENTRIES
    for name, size in names.items()
}

NANO = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"

# Names and totals as drivers give them: nvidia-smi [MiB], amdgpu [MiB].
CARDS = [
    ("NVIDIA GeForce RTX 4090", 24564, "GeForce RTX 4090"),
    ("NVIDIA H100 80GB HBM3", 81559, "H100 SXM5 80GB"),
    ("NVIDIA H100 PCIe", 81559, "H100 PCIe 80GB"),
    ("NVIDIA H100 NVL", 95830, "H100 NVL 94GB"),
    ("NVIDIA A100-SXM4-80GB", 81920, "A100 SXM4 80GB"),
    ("NVIDIA A100-SXM4-40GB", 40960, "A100 SXM4 40GB"),
    ("NVIDIA A100-PCIE-40GB", 40960, "A100 PCIe 40GB"),
    ("NVIDIA A100 80GB PCIe", 81920, "A100 PCIe 80GB"),
    ("Tesla V100-SXM2-16GB", 16160, "V100 SXM2 16GB"),
    ("Tesla V100-SXM2-32GB", 32510, "V100 SXM2 32GB"),
    ("Tesla V100-PCIE-16GB", 16160, "V100 PCIe 16GB"),
    ("Tesla T4", 15360, "T4"),
    ("Tesla T4", 15109, "T4"),
    ("NVIDIA A10G", 23028, "A10G"),
    ("NVIDIA L4", 23034, "L4"),
    ("NVIDIA L40S", 46068, "L40S"),
    ("NVIDIA H200", 143771, "H200 SXM 141GB"),
    ("NVIDIA H200 NVL", 143771, "H200 NVL 141GB"),
    ("NVIDIA GH200 480GB", 97871, "GH200 96GB"),
    ("NVIDIA GH200 144G HBM3e", 147000, "GH200 144GB"),
    ("NVIDIA B200", 183359, "B200 SXM 180GB"),
    ("NVIDIA GB200", 189471, "GB200 (per GPU)"),
    ("NVIDIA RTX 6000 Ada Generation", 49140, "RTX 6000 Ada"),
    ("NVIDIA RTX A6000", 49140, "RTX A6000"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "RTX PRO 6000 Blackwell Workstation"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "RTX PRO 6000 Blackwell Server"),
    ("NVIDIA GeForce RTX 4060 Ti", 16380, "RTX 4060 Ti 16GB"),
    ("NVIDIA GeForce RTX 4080 SUPER", 16376, "RTX 4080 SUPER"),
    # not these:
    ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, None),
    ("NVIDIA GeForce RTX 4080 Laptop GPU", 16376, None),
    ("NVIDIA GeForce RTX 4090 D", 24564, None),
    ("NVIDIA GeForce RTX 4060 Ti", 8188, None),
    ("NVIDIA GeForce RTX 4080 with Max-Q Design", 16376, None),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97887, None),
    ("Quadro RTX 6000", 24576, None),
    ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19968, None),
    ("NVIDIA H100 80GB HBM3", 40000, None),
]


@pytest.mark.parametrize(("name", "total_mib", "slug"), CARDS)
def test_nvidia_cards_by_the_names_of_their_driver(name: str, total_mib: int, slug: str | None) -> None:
    assert matching(FoundDevice(name=name, vendor="NVIDIA", memory_bytes=total_mib * MIB), KNOWN) == slug


@pytest.mark.parametrize(
    ("vendor", "name", "total_mib", "slug"),
    [
        ("AMD", "AMD Instinct MI300X", 196592, "MI300X"),
        ("AMD", "AMD Radeon RX 7900 XTX", 24560, "RX 7900 XTX"),
        ("AMD", "AMD Radeon Pro W7900", 46064, "Radeon PRO W7900"),
        ("AMD", "AMD Instinct MI250X", 65520, None),  # one of its two dies, which the driver gives as a device
        ("Intel", "Intel Arc B580", 12216, "Arc B580"),
        ("Intel", "Intel Arc A770", 8192, None),
        ("Intel", "Intel Data Center GPU Max 1550", 131072, "Data Center GPU Max 1550"),
        ("NVIDIA", "AMD Instinct MI300X", 196592, None),
    ],
)
def test_other_cards(vendor: str, name: str, total_mib: int, slug: str | None) -> None:
    assert matching(FoundDevice(name=name, vendor=vendor, memory_bytes=total_mib * MIB), KNOWN) == slug


@pytest.mark.parametrize(
    ("vendor", "name", "total_gib", "cores", "slug"),
    [
        ("NVIDIA", "NVIDIA GB10", 119.7, None, "DGX Spark GB10"),
        ("NVIDIA", "NVIDIA Jetson AGX Orin Developer Kit", 61.4, None, "Jetson AGX Orin 64GB"),
        ("NVIDIA", "NVIDIA Jetson AGX Orin Developer Kit", 29.8, None, "Jetson AGX Orin 32GB"),
        ("NVIDIA", "NVIDIA Jetson AGX Orin Developer Kit", 11.0, None, None),
        ("NVIDIA", "NVIDIA Orin NX Developer Kit", 15.3, None, "Jetson Orin NX 16GB"),
        ("NVIDIA", NANO, 7.44, None, "Jetson Orin Nano 8GB Super"),
        ("NVIDIA", "NVIDIA Jetson AGX Thor Developer Kit", 122.8, None, "Jetson AGX Thor T5000"),
        ("AMD", "AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 63.0, 40, "Ryzen AI Max+ 395 (Strix Halo)"),
        ("AMD", "AMD Ryzen 7 5700G with Radeon Graphics", 16.0, None, None),
        ("Apple", "Apple M4 Max", 128, 40, "Apple M4 Max (40-core)"),
        ("Apple", "Apple M4 Max", 48, 40, "Apple M4 Max (40-core)"),
        ("Apple", "Apple M4 Max", 36, 32, None),
        ("Apple", "Apple M4", 16, 10, "Apple M4"),
        ("Apple", "Apple M4 Pro", 24, None, "Apple M4 Pro"),
        ("Apple", "Apple M9", 24, None, None),
        ("Intel", "Intel(R) Core(TM) Ultra 9 288V", 31.0, None, "Core Ultra 9 288V (Lunar Lake)"),
    ],
)
def test_unified_memories(vendor: str, name: str, total_gib: float, cores: int | None, slug: str | None) -> None:
    size = int(total_gib * GIB)
    found = FoundDevice(name=name, vendor=vendor, kind=UNIFIED, memory_bytes=size, cores=cores)
    assert matching(found, KNOWN) == slug


def test_a_laptops_card_is_the_laptops_entry_where_there_is_one() -> None:
    laptop = Accelerator(slug="laptop", name="RTX 4090 Laptop", vendor="NVIDIA", memory_bytes=16 * GIB)
    by_market = Accelerator(slug="market", name="RTX 4090", market=Market.LAPTOP, memory_bytes=16 * GIB)
    found = FoundDevice(name="NVIDIA GeForce RTX 4090 Laptop GPU", vendor="NVIDIA", memory_bytes=16376 * MIB)
    desktop = FoundDevice(name="NVIDIA GeForce RTX 4090", vendor="NVIDIA", memory_bytes=24564 * MIB)
    for entry in (laptop, by_market):
        known = {**KNOWN, entry.slug: entry}
        assert matching(found, known) == entry.slug
        assert matching(desktop, known) == "GeForce RTX 4090"


@pytest.mark.parametrize(
    ("cpu", "board", "slug"),
    [
        ("AMD EPYC 9654 96-Core Processor", "", "EPYC 9654 (96c Genoa)"),
        ("AMD Ryzen 9 9950X 16-Core Processor", "", "Ryzen 9 9950X"),
        ("AMD Ryzen Threadripper PRO 7995WX 96-Cores", "", "Threadripper PRO 7995WX"),
        ("Intel(R) Xeon(R) Platinum 8480+", "", "Xeon Platinum 8480+ (56c SPR, AMX)"),
        ("Intel(R) Core(TM) i9-14900K", "", "Core i9-14900K"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "", None),
        ("AMD EPYC", "", None),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", "", None),  # its graphics are in the catalog, not its cores
        ("", "", None),
        ("Cortex-A76", "Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5 8GB"),
    ],
)
def test_processors_and_boards(cpu: str, board: str, slug: str | None) -> None:
    assert matching_host(FoundHost(cpu=cpu, board=board, memory_bytes=int(7.9 * GIB)), KNOWN) == slug


@pytest.mark.parametrize(
    ("name", "total_mib", "slug"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "rtx-4090-laptop"),
        ("NVIDIA GeForce RTX 4060 Ti", 8188, "rtx-4060-ti-8gb"),
        ("NVIDIA GeForce RTX 3060", 12288, "rtx-3060-12gb"),
        ("NVIDIA H200", 143771, "h200-sxm-141gb"),
        ("NVIDIA B200", 183359, "b200-sxm-180gb"),
        ("NVIDIA B300 SXM6 AC", 275040, "b300-sxm-288gb"),
        ("NVIDIA GB300", 284208, "gb300-288gb"),
        ("Tesla V100-SXM2-16GB", 16160, "v100-sxm-16gb"),
        ("NVIDIA L40S", 46068, "l40s"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97887, "rtx-pro-6000-blackwell-max-q"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, "rtx-pro-6000-blackwell"),
        ("NVIDIA Graphics Device", 97887, None),
        ("NVIDIA GeForce", 24564, None),
        ("", 24564, None),
    ],
)
def test_drivers_names_in_the_real_catalog(name: str, total_mib: int, slug: str | None) -> None:
    assert matching(FoundDevice(name=name, vendor="NVIDIA", memory_bytes=total_mib * MIB)) == slug


@pytest.mark.parametrize(
    ("board", "total_gib", "slug"),
    [
        ("Raspberry Pi 5 Model B Rev 1.1", 15.8, "raspberry-pi-5-16gb"),
        ("Raspberry Pi 5 Model B Rev 1.0", 7.9, "raspberry-pi-5-8gb"),
        ("Raspberry Pi 5 Model B Rev 1.0", 3.9, "raspberry-pi-5-8gb"),
        ("Raspberry Pi 4 Model B Rev 1.4", 3.8, "raspberry-pi-4-8gb"),
    ],
)
def test_boards_in_the_real_catalog(board: str, total_gib: float, slug: str) -> None:
    assert matching_host(FoundHost(cpu="Cortex-A76", board=board, memory_bytes=int(total_gib * GIB))) == slug


@pytest.mark.parametrize(
    ("name", "total_gib", "cores", "slug"),
    [
        ("Apple M4 Max", 36, 32, "apple-m4-max-32-core"),
        ("Apple M4 Max", 36, None, "apple-m4-max-32-core"),
        ("Apple M4 Max", 64, None, "apple-m4-max"),
        ("Apple M3 Max", 96, 30, "apple-m3-max-30-core"),
        ("Apple M3 Ultra", 256, 80, "apple-m3-ultra"),
        ("Apple M3 Ultra", 256, None, None),  # two bins are sold with this much
        ("Apple M2", 8, 8, "apple-m2"),
    ],
)
def test_macs_in_the_real_catalog(name: str, total_gib: int, cores: int | None, slug: str | None) -> None:
    found = FoundDevice(name=name, vendor="Apple", kind=UNIFIED, memory_bytes=total_gib * GIB, cores=cores)
    assert matching(found) == slug


def test_an_entry_is_found_by_its_other_names_too() -> None:
    apu = FoundDevice(
        name="AMD RYZEN AI MAX+ PRO 395 w/ Radeon 8060S", vendor="AMD", kind=UNIFIED, memory_bytes=60 * GIB
    )
    assert matching(apu) == "ryzen-ai-max-395"
    die = FoundDevice(name="AMD Instinct MI250X / MI250", vendor="AMD", memory_bytes=65520 * MIB)
    assert matching(die) == "mi250"


def test_every_device_of_the_catalog_is_itself_or_nothing_never_another() -> None:
    own = 0
    for slug, entry in accelerators().items():
        vendor = entry.vendor.split()[0] if entry.vendor else ""
        kind = Kind.GPU if entry.kind is Kind.ACCELERATOR else entry.kind
        laptop = " Laptop GPU" if entry.market is Market.LAPTOP and kind is GPU else ""
        found = FoundDevice(name=entry.name + laptop, vendor=vendor, kind=kind, memory_bytes=entry.memory_bytes)
        match = matching(found)
        assert match in (slug, None), entry.name
        own += match == slug
    assert own >= 0.9 * len(accelerators())


def test_the_presets_of_the_notes_are_found_by_their_drivers_names() -> None:
    cards = {"rtx-4090": CARDS[0], "h100-sxm-80gb": CARDS[1], "a100-pcie-40gb": CARDS[6], "v100-pcie-16gb": CARDS[10]}
    for slug, (name, total_mib, _) in cards.items():
        assert matching(FoundDevice(name=name, vendor="NVIDIA", memory_bytes=total_mib * MIB)) == slug


@given(st.text(max_size=200), st.integers(0, 2**50) | st.none(), st.sampled_from(Kind))
@settings(max_examples=100)
def test_any_name_is_matched_or_not(name: str, size: int | None, kind: Kind) -> None:
    slug = matching(FoundDevice(name=name, memory_bytes=size, kind=kind), KNOWN)
    assert slug is None or name_of(KNOWN[slug].name).words == name_of(name).words != frozenset()
