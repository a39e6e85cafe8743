"""What a container or a service may take of the memory: cgroup limits, version 2 and version 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from inferwise.read.machine.files import fields, number, text, whole

UNLIMITED = 1 << 60  # version 1 says "none" as the largest multiple of a page below 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """limit_bytes: at most; free_bytes: what is left of it, counting file cache that the kernel would give up."""

    limit_bytes: int
    free_bytes: int


def memory_limit(root: Path) -> Limit | None:
    """The tightest limit on this process: its group's or that of one around it. None: no limit."""
    found = [limit for folder, version in _folders(root) if (limit := _of(folder, version)) is not None]
    if not found:
        return None
    return Limit(limit_bytes=min(each.limit_bytes for each in found), free_bytes=min(each.free_bytes for each in found))


def _folders(root: Path) -> list[tuple[Path, int]]:
    """Every group from the process's own to the root of each hierarchy.

    Inside a container the path may be the host's: the mount's own root then holds the container's limit.
    """
    folders: dict[Path, int] = {}
    for line in text(root / "proc/self/cgroup").splitlines()[:64]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, version = (root / "sys/fs/cgroup/memory", 1) if controllers else (root / "sys/fs/cgroup", 2)
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for depth in range(min(len(parts), 64), -1, -1):
            folders[mount.joinpath(*parts[:depth])] = version
    return list(folders.items()) or [(root / "sys/fs/cgroup", 2)]


def _of(folder: Path, version: int) -> Limit | None:
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit = number(folder / names[0])  # "max": none
    if limit is None or limit >= UNLIMITED:
        return None
    used = number(folder / names[1]) or 0
    cache = whole(fields(text(folder / "memory.stat"), " ").get(names[2], "")) or 0
    return Limit(limit_bytes=limit, free_bytes=max(0, limit - max(0, used - cache)))
