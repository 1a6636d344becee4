"""What to say where a script looks for a file that the copy of its code does not have."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.build import contract, processing, source
from modelyard.build.literals import ML
from modelyard.errors import StepFailed, YardError
from modelyard.targets.base import Job

if TYPE_CHECKING:
    from modelyard.flows.site import Site

_SAID = re.compile(r"No such file|FileNotFound|not found|cannot open|does not exist", re.IGNORECASE)
_NAMED = re.compile(r"""['"]([^'"\n]{1,300})['"]|([^\s'":,]{1,300})(?=: No such| not found| does not exist)""")


def no_code(site: Site) -> list[Path]:
    """What lies among the scripts and is none: the data, labels, a brought model, and the config with the schema beside it."""
    location, bring, labels = site.config.data.source.location, site.config.bring, site.config.labels.source
    named = [location if site.config.data.source.using != "script" else None, bring.artifact if bring else None]
    named.append(labels.location if labels else None)
    tables = [site.repository / name for name in named if isinstance(name, str) and "://" not in name]
    return [*tables, site.repository / site.order.file, site.repository / "config.schema.json"]


def explained(site: Site, job: Job, error: Exception) -> Exception:
    """The error, with what to do if the script looked for what the build left out of its code."""
    parts = {"train": site.config.train} if job.kind == "train" else {name: part for name, _, part in site.processing}
    part = parts.get("train" if job.kind == "train" else job.name)
    if not isinstance(error, StepFailed) or part is None:
        return error
    with contextlib.suppress(YardError, OSError):
        code, _ = source.locate(site.repository, part.entry_point, part.source_dir)
        for name in _looked_for(job, [error.what, *error.log_tail]):
            if (found := source.left_out(code, job.code, name, exclude=no_code(site))) is not None:
                what, why = found
                inputs = "train.inputs" if job.kind == "train" else "its inputs"
                error.next = f"{what} was left out of the copied code: {why}; read the rows from a channel or input, or name it in {inputs}"
                return error
    return error


def _looked_for(job: Job, lines: Iterable[str]) -> Iterator[str]:
    """Paths below the code that the log says are not there."""
    folder = contract.DIALECTS[job.contract].CODE if job.kind == "train" else processing.CODE
    roots = (f"{ML}/{folder}/", f"{job.base.absolute()}/{folder}/")
    for line in lines:
        for quoted, bare in _NAMED.findall(line) if _SAID.search(line) else ():
            path = os.path.normpath(quoted or bare)
            root = next((root for root in roots if path.startswith(root)), "")
            name = path.removeprefix(root)
            # the code is the working directory of training; that of processing is /
            if name not in ("", ".") and not name.startswith(("/", "..")) and (root or job.kind == "train"):
                yield name
