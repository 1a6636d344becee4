"""Marks for tests that need something of the system: `@needs_bwrap`, `@needs_postgres`, `@needs_chromium`, `@needs_r`.

Where it is missing, a test skips with the reason; in CI (CI=true) it fails, since `.ci/run` was to install it. `conftest.py`
acts on them.
"""

from __future__ import annotations

import glob
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


@cache
def bwrap_missing() -> str:
    """Why bubblewrap cannot be used here, by trying it; empty where it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (scripts/system.sh installs it)"
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return "" if done.returncode == 0 else f"bubblewrap does not work here: {done.stderr.strip()}"


@cache
def postgres_bin() -> Path | None:
    """The folder of initdb and pg_ctl: on the PATH, or where Debian keeps them (the newest)."""
    on_path = shutil.which("initdb")
    if on_path is not None and shutil.which("pg_ctl") is not None:
        return Path(on_path).parent
    folders = [Path(p).parent for p in glob.glob("/usr/lib/postgresql/*/bin/initdb")]  # noqa: PTH207 - an absolute pattern
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


def postgres_missing() -> str:
    return "" if postgres_bin() else "PostgreSQL's initdb is not installed (scripts/system.sh installs it)"


@cache
def namespaces_missing() -> str:
    """Why users may not make namespaces here; empty where they may."""
    done = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True, timeout=30)
    return "" if done.returncode == 0 else f"users may not make namespaces here: {done.stderr.strip()}"


def chromium_missing() -> str:
    return "" if shutil.which("chromium") else "chromium is not installed (scripts/system.sh installs it)"


def r_missing() -> str:
    return "" if shutil.which("Rscript") else "R is not installed (scripts/system.sh installs it)"


MISSING: dict[str, Callable[[], str]] = {
    "bwrap": bwrap_missing,
    "namespaces": namespaces_missing,
    "postgres": postgres_missing,
    "chromium": chromium_missing,
    "r": r_missing,
}

needs_bwrap = pytest.mark.needs("bwrap")
needs_namespaces = pytest.mark.needs("namespaces")
needs_postgres = pytest.mark.needs("postgres")
needs_chromium = pytest.mark.needs("chromium")
needs_r = pytest.mark.needs("r")
