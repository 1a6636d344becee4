"""The step cache: what a step made is kept under a digest of all that it was made of, and the same step is not done a second time.

The digest covers the code, the inputs' content, arguments, hyperparameters, variables, the lock and interpreter of the environment,
and Modelyard's own source. The results lie in home/cache/<digest>/, with the digest of each of their files, so that an entry that is
damaged, or that a power loss left half written, is as good as none. A step that failed leaves nothing. One that may use the network
is kept like any other: what it fetched may be other by now, and `--no-cache` asks again.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modelyard
from modelyard import files
from modelyard.durable import Outcome
from modelyard.errors import YardError

if TYPE_CHECKING:
    from modelyard.flows.site import Site

ENTRY, CONTENT = "entry.json", "content"
KEPT = "kept from run"
"""How the summary of what was not done again begins."""
LIMIT = "MODELYARD_CACHE_GB"
"""Environment variable: how large the cache may grow, 10 GB unless it says otherwise; 0 keeps nothing."""
RACY = 2.0
"""Seconds for which a file's time may stay as it is though it is written again."""
_sweeping = threading.Lock()
_held: dict[Path, int] = {}
"""Bytes of a cache, as this process, which alone adds to it, has found and kept; at least as many as there are."""


def cached(site: Site, key: Mapping[str, Any], root: Path, made: list[str], work: Callable[[], Outcome[Any]]) -> Outcome[Any]:
    """What `work` returns and leaves in `root` under the names `made` (files or folders), from the cache if the same was done before.

    `key` says what it is made of: JSON values, and Paths, which count by the content of what lies there. `work` may add to `made`;
    what it does not leave is kept as not there. What it tells of (events) cannot be kept, so an outcome with events is not.
    """
    if not site.order.cache:
        return work()
    digest = digest_of(site, {"modelyard": own_source(), "made": list(made), **key})
    if (kept := _take(site, digest, root, made)) is not None:
        return kept
    outcome = work()
    if not outcome.events:
        with contextlib.suppress(OSError, _Unkeepable):  # a full disk must not fail a step that went well
            _put(site, digest, root, made, outcome)
    return outcome


def remembered(site: Site, key: Any, path: Path | None, work: Callable[[], Outcome[Any]], *, holds: Callable[[Any], bool]) -> Outcome[Any]:
    """What `work` returned of a model's source last time, as long as `key` is the same and the files at `path` look untouched.

    Untouched is what Git takes for it: names, sizes, times and inodes are the same, and no time is so new that a later write could
    have the same. `holds` says whether the value still is good for something. Without a path nothing is remembered, nor of a folder
    with a link to another.
    """
    if path is None or not site.order.cache or not path.exists() or any(file.is_symlink() and file.is_dir() for _, file in _walk(path)):
        return work()
    note = _folder(site) / "sources" / f"{site.run.model}.json"
    mark = [digest_of(site, {"modelyard": own_source(), "key": key}), _listed(path)]
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["mark"] == mark and holds(noted["value"]):
            return Outcome(noted["value"], summary=noted["summary"] + "; the source is untouched")
    outcome = work()
    newest = max(facts.st_ctime for _, file in _walk(path) for facts in (file.lstat(), _led_to(file)) if facts is not None)
    if not outcome.events and _listed(path) == mark[1] and newest < time.time() - RACY:
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            files.replace(note, json.dumps({"mark": mark, "value": outcome.value, "summary": outcome.summary}).encode(), durable=False)
    return outcome


# -- digests ----------------------------------------------------------------------------------------------------------------------


def digest_of(site: Site, value: Any) -> str:
    """SHA-256 of a JSON value in which Paths stand for the content that lies there."""

    def plain(item: Any) -> Any:
        if isinstance(item, Path):
            return {"content": content(site, item)}
        if isinstance(item, Mapping):
            return {str(key): plain(value) for key, value in item.items()}
        if isinstance(item, list | tuple):
            return [plain(value) for value in item]
        if isinstance(item, set | frozenset):
            return sorted(plain(value) for value in item)
        return item

    try:
        return hashlib.sha256(json.dumps(plain(value), sort_keys=True, allow_nan=True).encode()).hexdigest()
    except TypeError as exc:
        raise YardError(f"what a step is made of has no digest: {exc}") from exc


def content(site: Site, path: Path) -> str:
    """A digest of a file or folder by names, executable bits and contents. Read once a run, while names, sizes and times stay."""
    if path.parent == site.shop.home.path / "snapshots":
        return f"snapshot {path.name}"  # which is a digest of its content
    note, listed = _note(site, path), _listed(path)
    with contextlib.suppress(OSError, ValueError, KeyError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["listed"] == listed:
            return str(noted["content"])
    seen = hashlib.sha256()
    for name, file in _walk(path):
        # a link that a step left counts as one: where it leads is inside the step's own root, and may be nowhere here
        mode = file.lstat().st_mode if name else file.stat().st_mode
        of = _hash(file) if stat.S_ISREG(mode) else f"-> {file.readlink()}" if stat.S_ISLNK(mode) else ""
        seen.update(f"{name}\0{int(bool(mode & 0o111))}\0{of}\n".encode("utf-8", "surrogateescape"))
    know(site, path, seen.hexdigest())
    return seen.hexdigest()


def know(site: Site, path: Path, content: str) -> None:
    """Remember for this run that what lies at `path` now has the digest `content`, known from what it was made of."""
    note = _note(site, path)
    note.parent.mkdir(parents=True, exist_ok=True)
    files.replace(note, json.dumps({"listed": _listed(path), "content": content}).encode(), durable=False)


def _note(site: Site, path: Path) -> Path:
    return site.folder / "known" / hashlib.sha256(str(path.absolute()).encode()).hexdigest()


def _listed(path: Path) -> str:
    """Names, sizes, times and inodes, which change whenever the content does; nobody can set back the time of the last change."""
    seen = hashlib.sha256()
    for name, file in _walk(path):
        words: list[object] = [name]
        for facts in (file.lstat(), _led_to(file)):
            if facts is not None:
                words += [facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
        seen.update(repr(words).encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


def _led_to(file: Path) -> os.stat_result | None:
    """The facts of what a link leads to, which may be written to while the link stays; None of no link, and of one that leads nowhere."""
    try:
        return file.stat() if file.is_symlink() else None
    except OSError:
        return None


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    """Everything below a folder, or the file itself, by relative name, in order."""
    if not path.is_dir():
        yield "", path
        return
    for file in sorted(path.rglob("*")):
        yield str(file.relative_to(path)), file


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@functools.cache
def own_source() -> str:
    """SHA-256 of Modelyard's own source as it lies there: another version of it may do a step another way."""
    seen = hashlib.sha256()
    root = str(Path(modelyard.__file__).parent)
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(name for name in names if name.endswith(".py")):
            with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123  (of hundreds, in each build)
                data = file.read()
            seen.update(f"{folder[len(root) :]}/{name}\0{len(data)}\0".encode() + data)
    return seen.hexdigest()


# -- entries ----------------------------------------------------------------------------------------------------------------------


class _Unkeepable(Exception):
    """What a step left cannot be kept: a link, a socket."""


def _folder(site: Site) -> Path:
    return site.shop.home.path / "cache"


def _put(site: Site, digest: str, root: Path, made: list[str], outcome: Outcome[Any]) -> None:
    """Keep an entry: hard links to what was made where that goes, and the mark that names it renamed into place as the last act."""
    cache = _folder(site)
    if not limit():
        return
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".keeping-", dir=cache))
    try:
        described = {name: _keep(root / name, work / CONTENT / name) for name in made if (root / name).exists()}
        entry = {
            "run": site.run.id,
            "at": datetime.now(UTC).isoformat(),
            "value": outcome.value,
            "summary": outcome.summary,
            "made": described,
            "size": sum(size for kept in described.values() for _, size, _ in kept["files"].values()),
        }
        files.replace(work / ENTRY, json.dumps(entry, allow_nan=False).encode(), durable=True)
        with contextlib.suppress(OSError):  # somebody else kept the same in the meantime: theirs is as good
            work.rename(cache / digest)
    except (ValueError, TypeError) as exc:
        raise _Unkeepable from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sweep(cache, limit(), but=digest, added=entry["size"])


def _keep(path: Path, at: Path) -> dict[str, Any]:
    """Link or copy plain files and folders to `at`; what they are: {"folder", "folders", "files": {name: [sha256, size, mode]}}."""
    described: dict[str, Any] = {"folder": path.is_dir(), "folders": [], "files": {}}
    at.mkdir(parents=True)
    for name, file in _walk(path):
        facts = file.lstat()
        target = at / (name or path.name)
        if stat.S_ISDIR(facts.st_mode):
            target.mkdir(exist_ok=True)
            described["folders"].append(name)
        elif stat.S_ISREG(facts.st_mode):
            try:
                os.link(file, target, follow_symlinks=False)
            except OSError:
                shutil.copyfile(file, target, follow_symlinks=False)
            described["files"][name or path.name] = [_hash(target), facts.st_size, stat.S_IMODE(facts.st_mode)]
        else:
            raise _Unkeepable
    return described


def _take(site: Site, digest: str, root: Path, made: list[str]) -> Outcome[Any] | None:
    """Put a kept result in its place, each file read and compared on the way; None where there is none, or it is damaged.

    Files are copied, so that nothing which changes them in one run is seen in another.
    """
    folder = _folder(site) / digest
    try:
        entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        names = {*made, *entry["made"]}
        ready = {root / name: _copied(folder / CONTENT / name, entry["made"].get(name), root / name) for name in names}
        value, run, summary = entry["value"], str(entry["run"]), entry["summary"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        if folder.exists():
            _drop(folder)
        return None
    for path, whole in ready.items():
        _remove(path)
        if whole is not None:
            whole.replace(path)
    with contextlib.suppress(OSError):
        os.utime(folder / ENTRY)
    return Outcome(value, summary=f"{KEPT} {run}" + (f": {summary}" if summary else ""))


def _copied(source: Path, described: dict[str, Any] | None, path: Path) -> Path | None:
    """A copy of a kept result beside `path`, to be renamed to it. Raises ValueError where it is not what was kept."""
    work = path.with_name(f".{path.name}.kept")
    _remove(work)
    if described is None:
        return None
    work.parent.mkdir(parents=True, exist_ok=True)
    if described["folder"]:
        work.mkdir()
        for name in described["folders"]:
            (work / name).mkdir(parents=True, exist_ok=True)
    for name, (digest, _, mode) in described["files"].items():
        target = work / name if described["folder"] else work
        seen = hashlib.sha256()
        with (source / name).open("rb") as reader, target.open("xb") as writer:
            while chunk := reader.read(1 << 20):
                seen.update(chunk)
                writer.write(chunk)
        if seen.hexdigest() != digest:
            raise ValueError(f"{name} is damaged")
        target.chmod(mode)
    return work


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _drop(folder: Path) -> None:
    """Take an entry away in one step, so that nobody finds half of it."""
    gone = Path(tempfile.mkdtemp(prefix=".keeping-", dir=folder.parent))
    with contextlib.suppress(OSError):
        folder.rename(gone / "entry")
    shutil.rmtree(gone, ignore_errors=True)


def limit() -> int:
    """Bytes that the cache may have. Raises YardError for a limit that is no number."""
    said = os.environ.get(LIMIT, "10")
    try:
        return int(float(said) * 1e9)
    except (ValueError, OverflowError) as exc:
        raise YardError(f"{LIMIT} is {said!r}, and no number of gigabytes", where=LIMIT) from exc


def sweep(cache: Path, most: int, *, but: str = "", added: int | None = None) -> None:
    """Drop the entries that were used longest ago until the rest fits into `most` bytes. Where no more than `added` bytes are new, and
    there is known to be room for them, the entries, of which there may be thousands, are not gone through."""
    with _sweeping:
        if added is not None and cache in _held and _held[cache] + added <= most:
            _held[cache] += added
            return
        found = []
        for mark in cache.glob(f"*/{ENTRY}"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append((mark.stat().st_mtime_ns, int(json.loads(mark.read_text(encoding="utf-8"))["size"]), mark.parent))
        total = sum(size for _, size, _ in found)
        for _, size, folder in sorted(found):
            if total <= most:
                break
            if folder.name != but:
                _drop(folder)
                total -= size
        _held[cache] = total
