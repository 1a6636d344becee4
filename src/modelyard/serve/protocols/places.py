"""Where asynchronous requests find their inputs, and leave their answers: folders of this machine, and addresses that fsspec opens.

An input must lie under one of the addresses that the config names. On this machine no link is followed, so that nothing else can be read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from modelyard import files
from modelyard.errors import BadInput, NotFound, Unavailable
from modelyard.serve.refusals import TooLarge

_LOCAL = frozenset({"", "file"})


def local(address: str) -> Path | None:
    """The path of an address on this machine; None for one elsewhere, and for what is no address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in _LOCAL or (parts.scheme and parts.netloc not in ("", "localhost")):
        return None
    return Path(unquote(parts.path) if parts.scheme else address)


def inside(address: str, allowed: tuple[str, ...]) -> tuple[str, list[str]]:
    """The allowed address that `address` lies under, and the names that lead from there to it. Raises BadInput."""
    path = local(address)
    for base in allowed:
        root = local(base)
        given, start = (address, base) if path is None or root is None else (str(path), str(root))
        if (path is None) != (root is None) or not given.startswith(start.rstrip("/") + "/"):
            continue
        names = [name for name in given[len(start.rstrip("/")) :].split("/") if name]
        if not names or any(name in (".", "..") or "\0" in name or "\\" in name for name in names):
            break
        return base, names
    raise BadInput("the input lies under no address that this endpoint reads", where=f"InputLocation {address[:200]}")


def read(address: str, allowed: tuple[str, ...], limit: int) -> bytes:
    """The input, of at most `limit` bytes. Blocks. Raises BadInput, NotFound, TooLarge; Unavailable where the storage does not answer."""
    base, names = inside(address, allowed)
    root = local(base)
    where = f"InputLocation {address[:200]}"
    try:
        data = _remote(base, names, limit) if root is None else _beneath(root, names, limit)
    except FileNotFoundError:
        raise NotFound("there is no such input", where=where) from None
    except OSError as exc:
        kind, why = (Unavailable, str(exc)) if root is None else (BadInput, os.strerror(exc.errno or 0))
        raise kind(f"the input cannot be read: {why}", where=where) from None
    if len(data) > limit:
        raise TooLarge(f"the input is larger than {limit} bytes", where=where, next="Split it.")
    return data


def _beneath(root: Path, names: list[str], limit: int) -> bytes:
    """A file below `root`, name by name; a link on the way is an OSError, and so is what is no file."""
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names[:-1]:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        handle = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadInput("the input is no file")
        return file.read(limit + 1)


def _remote(base: str, names: list[str], limit: int) -> bytes:
    """Raises OSError, whatever the storage's library raises."""
    system, root = _system(base)
    try:
        data: bytes = system.cat_file(f"{root.rstrip('/')}/{'/'.join(names)}", start=0, end=limit + 1)
    except OSError:
        raise
    except Exception as exc:  # each library has errors of its own
        raise OSError(f"{type(exc).__name__}: {exc}") from exc
    return data


def write(base: str, name: str, data: bytes) -> None:
    """Put an answer at `name` below an address. Blocks. Raises Unavailable."""
    root = local(base)
    try:
        if root is not None:
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            files.replace(target, data, durable=True)
            return
        system, place = _system(base)
        system.pipe_file(f"{place.rstrip('/')}/{name}", data)
    except Exception as exc:  # likewise
        raise Unavailable(f"the answer cannot be written: {exc}", where=base) from None


def _system(base: str) -> tuple[Any, str]:
    """The file system of an address, and the path within it. Raises OSError where nothing opens such addresses."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(base, use_listings_cache=False)
    except (ValueError, ImportError) as exc:
        raise OSError(f"nothing is installed that opens {base.partition(':')[0]}: addresses ({exc})") from exc
    return system, str(path)
