"""What processes take over time: resident memory, file descriptors, threads; and by how much that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.build.launch import descendants


@dataclass(frozen=True)
class Reading:
    """`at` in seconds since the gauge began; `rss` in bytes, of the process and all below it."""

    at: float
    rss: int
    descriptors: int
    threads: int


@dataclass
class Gauge:
    """Readings of processes, by their names. `read` must be called by whoever has it, about once a second."""

    pids: Mapping[str, int]
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def read(self) -> None:
        for name, pid in self.pids.items():
            every = [reading for one in (pid, *descendants(pid)) if (reading := _one(one)) is not None]
            at = time.monotonic() - self.began
            whole = Reading(at, *(sum(column) for column in zip(*every, strict=True)))
            self.readings.setdefault(name, []).append(whole)

    def slope(self, name: str, warm: float = 0.25) -> float:
        """Growth of the resident memory in bytes a second, by a line fitted to what comes after the first `warm` (a share) of the time."""
        return slope([(r.at, r.rss) for r in self._after(name, warm)])

    def grown(self, name: str, warm: float = 0.25) -> int:
        """Bytes by which the fitted line rises from there to the end."""
        late = self._after(name, warm)
        return round(self.slope(name, warm) * (late[-1].at - late[0].at))

    def _after(self, name: str, warm: float) -> list[Reading]:
        every = self.readings[name]
        return [r for r in every if r.at >= warm * every[-1].at]

    def table(self, warm: float = 0.25) -> str:
        """All of it for a reader."""
        titles = "".join(f"{what:>9}" for what in ("seconds", "MB first", "MB warm", "MB last", "MB most", "MB/h"))
        lines = [f"{'process':<16}{titles}{'descriptors':>20}{'threads':>20}"]
        for name, every in self.readings.items():
            late = self._after(name, warm)
            sizes = [every[0].rss, late[0].rss, every[-1].rss, max(r.rss for r in every)]
            counts = [f"{c[0]} to {c[-1]}, most {max(c)}" for c in ([r.descriptors for r in late], [r.threads for r in late])]
            shown = "".join(f"{size / 1e6:>9.1f}" for size in sizes)
            lines.append(f"{name:<16}{every[-1].at:>9.0f}{shown}{self.slope(name, warm) * 3600 / 1e6:>9.2f}{counts[0]:>20}{counts[1]:>20}")
        return "\n".join(lines)


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line of least squares through (x, y)."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _one(pid: int) -> tuple[int, int, int] | None:
    """Bytes, descriptors and threads of a process; None where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors, threads = (len(list(Path(f"/proc/{pid}/{what}").iterdir())) for what in ("fd", "task"))
        return pages * os.sysconf("SC_PAGE_SIZE"), descriptors, threads
    except (FileNotFoundError, ProcessLookupError):
        return None
