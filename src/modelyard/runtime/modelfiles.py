"""Model files: which file of a model's folder holds the model, told by its name, else its ending, else its first bytes; and pickles."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.runtime.script import CannotLoad

_PICKLE_NAMES = ("model.joblib", "model.pkl", "model.pickle")
_PICKLE_ENDINGS = (".joblib", ".pkl", ".pickle", ".sav")
# pickle since protocol 2; joblib's compressed files: gzip, zlib, bz2, xz, lzma, lz4
_PICKLED = (b"\x80", b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"BZh", b"\xfd7zXZ", b"\x5d\0\0", b"\x04\x22M\x18")
_HEAD = 64


class Format(NamedTuple):
    """How a framework's own files are told: `names` (the earlier goes before the later), `endings`, and their first bytes."""

    names: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    begins: Callable[[bytes], bool] = lambda head: False


def held(folder: Path) -> str:
    """What lies in a folder, for messages."""
    return ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"


def head(path: Path) -> bytes:
    """A file's first 64 bytes."""
    with path.open("rb") as file:
        return file.read(_HEAD)


def is_pickle(path: Path) -> bool:
    """Whether a file is to be unpickled: by its ending, else by its first bytes."""
    return path.name.endswith(_PICKLE_ENDINGS) or head(path).startswith(_PICKLED)


def find(folder: Path, own: Format, wanted: str) -> Path:
    """The one file that fits best: the format's own name, its endings, a pickle's name or ending, first bytes, and at last the only file
    that there is, whatever it is called. The folder itself goes before those in it. Raises CannotLoad where none fits, naming `wanted`,
    and where several fit equally well."""
    top = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    deep = sorted(p for p in folder.rglob("*") if p.is_file() and p not in top and p.relative_to(folder).parts[0] != "code")
    for files in (top, deep):
        for fitting in _levels(files, own):
            if len(fitting) > 1:
                names = ", ".join(p.relative_to(folder).as_posix() for p in fitting)
                raise CannotLoad(
                    f"the model folder holds {len(fitting)} files that may be the model ({names}); leave one, or define model_fn"
                )
            if fitting:
                return fitting[0]
    files = [*top, *deep]
    if len(files) == 1 and (own != Format() or is_pickle(files[0])):
        return files[0]
    raise CannotLoad(f"the model folder holds no {wanted} (it holds {held(folder)}); save the model so, or define model_fn")


def _levels(files: list[Path], own: Format) -> list[list[Path]]:
    """The files that fit, the best way first."""
    named = [[p for p in files if p.name == name] for name in own.names]
    pickles = [[p for p in files if p.name == name] for name in _PICKLE_NAMES]
    endings = [[p for p in files if ending and p.name.endswith(ending)] for ending in (own.endings, _PICKLE_ENDINGS)]
    unended = [p for p in files if not p.name.endswith(_PICKLE_ENDINGS)]
    begun = [[p for p in unended if own.begins(head(p))], [p for p in unended if is_pickle(p)]]
    return [*named, endings[0], *pickles, endings[1], *begun]


def unpickled(path: Path) -> Any:
    """The object in a file of joblib's or pickle's. Only a runner does this: in the model's own environment and sandbox, where whatever
    a pickle does, it does there. Raises CannotLoad where its class cannot be found again."""
    try:
        return importlib.import_module("joblib").load(path)
    except AttributeError as exc:
        raise homeless(exc) from exc
    except ImportError as exc:
        if exc.name != "joblib":
            raise
        with path.open("rb") as file:
            return pickle.load(file)  # noqa: S301  (see above)


def homeless(exc: AttributeError) -> Exception:
    """What to raise for a pickle whose class the training script itself defined; any other error as it is."""
    if "__main__" not in str(exc):
        return exc
    return CannotLoad(f"{exc}: a class that the script itself defines; move it to a module beside the script")
