"""Artifacts: a model file that somebody else made, brought from a path or an fsspec URL."""

from __future__ import annotations

import shutil
from pathlib import Path

from modelyard.errors import BadInput, NotFound

WHERE = "bring.artifact"


def fetch(location: str, *, folder: Path, into: Path) -> None:
    """Copy the file at `location` (relative to `folder`, or a URL) to `into`. Raises NotFound, BadInput."""
    if "://" not in location:
        path = folder / location
        if not path.is_file():
            raise NotFound(f"there is no file {location}", where=WHERE, next="the path is relative to config.yaml")
        shutil.copyfile(path, into)
        return
    import fsspec

    try:
        with fsspec.open(location, "rb") as remote, into.open("wb") as file:
            shutil.copyfileobj(remote, file)
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file at {location}", where=WHERE) from exc
    except ImportError as exc:
        raise BadInput(f"{location} needs a package that is not installed", where=WHERE, next=str(exc)) from exc
    except Exception as exc:  # each backend raises its own kinds
        raise BadInput(f"{location} cannot be read: {type(exc).__name__}", where=WHERE) from exc
