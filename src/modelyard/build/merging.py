"""What several hosts of one job left, put together as SageMaker does: their files in one folder, the first host's where two clash."""

from __future__ import annotations

import hashlib
from pathlib import Path


def merge(top: Path, others: list[Path]) -> list[str]:
    """Move the files of other hosts' folders into `top`, never through a link that a script left there. Returns the names under which
    hosts left different contents: of those, what was there first stays."""
    clashes = []
    for theirs in others:
        for path in sorted(p for p in theirs.rglob("*") if p.is_symlink() or not p.is_dir()):
            name = path.relative_to(theirs)
            place = top / name
            if not _leads_in(place, top):
                clashes.append(str(name))
            elif not place.is_symlink() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)
            elif not _same(path, place):
                clashes.append(str(name))
    return clashes


def _leads_in(place: Path, top: Path) -> bool:
    """Whether the folders on the way from `top` to `place` are folders, or are not there yet."""
    on_the_way = [p for p in place.parents if p != top and p.is_relative_to(top)]
    return not any(p.is_symlink() or (p.exists() and not p.is_dir()) for p in on_the_way)


def _same(one: Path, other: Path) -> bool:
    plain = [p.is_file() and not p.is_symlink() for p in (one, other)]
    return all(plain) and one.stat().st_size == other.stat().st_size and _digest(one) == _digest(other)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
