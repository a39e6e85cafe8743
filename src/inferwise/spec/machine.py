"""The machine at hand, as its drivers and its system describe it: what was found, never what was assumed."""

from __future__ import annotations

from dataclasses import dataclass

from inferwise.spec.hardware import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDevice:
    """One device that can hold a model. None: its driver does not say.

    name: as the driver gives it (of a processor with graphics in it, the processor's). memory_bytes: the driver's
    total; of a unified memory, all that the GPU could reach. reserved_bytes: of that, what the driver keeps from
    programs. used_bytes: taken now by others, without what is reserved. gpu_limit_bytes: of a unified memory, the most
    that the GPU may take. cores: GPU cores or compute units. source: what told us.
    """

    name: str
    vendor: str = ""
    kind: Kind = Kind.GPU
    memory_bytes: int | None = None
    reserved_bytes: int = 0
    used_bytes: int | None = None
    gpu_limit_bytes: int | None = None
    index: int | None = None
    uuid: str = ""
    driver: str = ""
    architecture: str = ""
    cores: int | None = None
    source: str = ""

    @property
    def unified(self) -> bool:
        """Whether its memory is the host's."""
        return self.kind is not Kind.GPU

    @property
    def usable_bytes(self) -> int | None:
        """What programs can see of its memory: CUDA's total is NVML's total less what the driver reserves."""
        if self.gpu_limit_bytes is not None:
            return self.gpu_limit_bytes
        return None if self.memory_bytes is None else max(0, self.memory_bytes - self.reserved_bytes)

    @property
    def free_bytes(self) -> int | None:
        """What programs could take now."""
        usable = self.usable_bytes
        return None if usable is None or self.used_bytes is None else max(0, usable - self.used_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundHost:
    """The system around the devices. None or empty: not known.

    memory_bytes, available_bytes: of the system, or of the container that we run in where that gets less
    (memory_limit_bytes). cores: physical ones. disk_free_bytes: of the current folder; home_free_bytes: of the home.
    board: the maker's name of a single-board computer.
    """

    cpu: str = ""
    cores: int | None = None
    sockets: int | None = None
    memory_bytes: int | None = None
    available_bytes: int | None = None
    memory_limit_bytes: int | None = None
    disk_free_bytes: int | None = None
    home_free_bytes: int | None = None
    os: str = ""
    board: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is at hand. No device is an answer; remarks say what could not be read, and why it matters."""

    host: FoundHost
    devices: tuple[FoundDevice, ...] = ()
    remarks: tuple[str, ...] = ()
