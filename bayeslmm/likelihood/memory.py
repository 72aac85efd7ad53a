"""How much memory this process may still take."""

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/statm")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes this process can still get, or None where the system does not tell.

    The least of what is free on the machine, what the process's own limits of address space and of data leave
    (RLIMIT_AS, RLIMIT_DATA), and what the limits of its control groups leave, which is what a container has.
    """
    found = [_free_on_machine(), _left_of("RLIMIT_AS", 0), _left_of("RLIMIT_DATA", 5), *_left_of_groups()]
    known = [bytes_ for bytes_ in found if bytes_ is not None]
    return max(min(known), 0) if known else None


def _free_on_machine() -> int | None:
    try:
        with MEMINFO.open(encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _left_of(name: str, used: int) -> int | None:
    """Return what one of the process's limits leaves, of which the kernel counts the pages in a place of `STATUS`."""
    try:
        import resource

        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int(STATUS.read_text(encoding="ascii").split()[used])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError, IndexError, AttributeError):  # no such limits on this system
        return None


def _left_of_groups() -> list[int]:
    """Return what every memory limit on the way from the process's control group to the root leaves."""
    found: list[int] = []
    for folder, limit, used in _group_files():
        try:
            most = (folder / limit).read_text(encoding="ascii").strip()
            if most == "max":
                continue
            found.append(int(most) - int((folder / used).read_text(encoding="ascii")) + _cached(folder))
        except (OSError, ValueError):
            continue
    return found


def _group_files() -> list[tuple[Path, str, str]]:
    """Return folders of control groups with their files' names, of version 2 and of version 1."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: list[tuple[Path, str, str]] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        names = ("memory.max", "memory.current")
        root = GROUPS
        if "memory" in controllers.split(","):
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes"), GROUPS / "memory"
        elif controllers:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [(root.joinpath(*parts[:depth]), *names) for depth in range(len(parts) + 1)]
    return found


def _cached(folder: Path) -> int:
    """Return the bytes of cached files a group counts as used though it gives them up when asked."""
    try:
        for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
