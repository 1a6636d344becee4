"""uv, run under a keeper, with the package indexes that this machine's pip is configured with.

uv reads its own configuration, and none of pip's. A machine whose pip knows a mirror or a folder of wheels would then resolve to
other packages than `pip install` does, so what pip's files and variables say of indexes is handed to uv in its environment, where
uv has no word of its own. Nothing of it gets into a lock.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from modelyard.build import processes
from modelyard.errors import StepFailed

LONGEST = 1800.0
"""Seconds that locking, or making an environment, may take."""
_UNWANTED = (
    "VIRTUAL_ENV",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_NO_COMPILE_BYTECODE",
    "UV_PROJECT_ENVIRONMENT",
)
_LISTS = {
    "find-links": ("UV_FIND_LINKS", ",", ("UV_FIND_LINKS",)),
    "extra-index-url": ("UV_INDEX", " ", ("UV_INDEX", "UV_EXTRA_INDEX_URL")),
    "index-url": ("UV_DEFAULT_INDEX", " ", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
    "constraint": ("UV_CONSTRAINT", " ", ("UV_CONSTRAINT",)),
    "trusted-host": ("UV_INSECURE_HOST", " ", ("UV_INSECURE_HOST",)),
    "cert": ("SSL_CERT_FILE", " ", ("SSL_CERT_FILE",)),
}
"""pip's option: uv's variable, what stands between its values there, and the variables by which uv has a word of its own."""


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What uv's environment gets of pip's configuration: its files (`pip config debug` lists them), then PIP_ variables over them.

    pip takes the best version of all its indexes, uv that of the first which has the package: where pip's indexes are used, so is
    pip's way (`UV_INDEX_STRATEGY=unsafe-best-match`), unless UV_INDEX_STRATEGY says otherwise.
    """
    said = _of_files(environ) | _of_variables(environ)
    found = {}
    for option, (variable, between, own) in _LISTS.items():
        values = said.get(option, "").split()
        if values and not any(name in environ for name in own):
            found[variable] = between.join(values[-1:] if option in ("index-url", "cert") else values)
    if said.get("no-index", "").lower() in ("1", "true", "yes", "on") and "UV_NO_INDEX" not in environ:
        found["UV_NO_INDEX"] = "1"
    if {"UV_INDEX", "UV_DEFAULT_INDEX"} & found.keys() and "UV_INDEX_STRATEGY" not in environ:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def _of_variables(environ: Mapping[str, str]) -> dict[str, str]:
    names = {f"PIP_{option.upper().replace('-', '_')}": option for option in (*_LISTS, "no-index")}
    return {option: environ[name] for name, option in names.items() if environ.get(name)}


def _of_files(environ: Mapping[str, str]) -> dict[str, str]:
    """`[global]` and over it `[install]` of pip's files, later files over earlier ones, in pip's own order."""
    home = Path(environ.get("HOME") or "~").expanduser()
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return {}
    dirs = environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [*(Path(folder) / "pip" / "pip.conf" for folder in reversed(dirs) if folder), Path("/etc/pip.conf")]
    files += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    files += [Path(named)] if named else []
    found: dict[str, str] = {}
    for section in ("global", "install"):
        for file in files:
            parser = configparser.RawConfigParser()
            try:
                parser.read(file, encoding="utf-8")
            except (configparser.Error, OSError, UnicodeDecodeError):
                continue  # pip refuses such a file; what it would say is no matter of the model's
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section) if value}
    return found


def environment() -> dict[str, str]:
    """Of the environment what configures uv, and none of our secrets: packages without a wheel run their own code."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MODELYARD_") and k not in _UNWANTED}
    return kept | settings(kept)


def uv(argv: list[str], what: str, cwd: Path, work: Path, record: Path | None = None) -> list[str]:
    """Run uv and return the lines that it wrote. Raises StepFailed, of which uv's own explanation is the lines."""
    import uv as program

    lines: list[str] = []
    ended = processes.run(
        [program.find_uv_bin(), *argv, "--quiet", "--no-python-downloads", "--color", "never"],
        env=environment(),
        cwd=cwd,
        timeout=LONGEST,
        log=work / "uv.log",
        record=record or work / processes.RECORD,
        on_line=lines.append,
    )
    if ended.stopped:
        raise StepFailed(f"{what}: uv took longer than {LONGEST:g} s", where="environment", log_tail=ended.tail)
    if ended.code != 0:
        hint = "uv's explanation is below; change the requirements, or look at the network and the package index"
        raise StepFailed(what, where="environment", next=hint, log_tail=tuple(line for line in lines if line.strip())[:40])
    return lines
