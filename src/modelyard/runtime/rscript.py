"""Models of R: an Rscript process of ours beside the runner, spoken to by a line of JSON a request (runner.R is its other half)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from modelyard.runtime.outputs import gives_probabilities
from modelyard.runtime.rows import Rows
from modelyard.runtime.script import CannotLoad


class RFailed(Exception):
    """What R's stop() said."""


class RModel:
    """A model that R holds. `version` is R's; `own_loader` and `own_predictor` say which functions the script defines."""

    def __init__(self, model_dir: str, script: str, signature: dict[str, Any]) -> None:
        program = shutil.which("Rscript")
        if program is None:
            raise CannotLoad("Rscript is not installed (on Debian and Ubuntu: apt-get install r-base-core r-cran-jsonlite)")
        self._kinds = {str(c["name"]): str(c["type"]) for c in signature["columns"]}
        requests, self._requests = os.pipe()
        reading, answers = os.pipe()
        half = str(Path(__file__).with_name("runner.R"))
        argv = [
            program,
            "--vanilla",
            half,
            model_dir,
            script,
            "yes" if gives_probabilities(signature) else "no",
            str(requests),
            str(answers),
        ]
        self.process = subprocess.Popen(argv, pass_fds=(requests, answers), stdin=subprocess.DEVNULL)  # it ends when our pipe does
        os.close(requests)
        os.close(answers)
        self._reader = os.fdopen(reading, "r", encoding="utf-8")
        try:
            hello = self._ask(b"")
        except RFailed as exc:
            raise CannotLoad(f"R: {exc}") from exc
        self.version, self.own_loader, self.own_predictor = hello["r"], bool(hello["model_fn"]), bool(hello["predict_fn"])

    def _ask(self, message: bytes) -> dict[str, Any]:
        """Send a line, wait for one. Raises RFailed, also where R is gone."""
        view = memoryview(message)
        try:
            while view:
                view = view[os.write(self._requests, view) :]
            line = self._reader.readline()
        except OSError:
            line = ""
        if not line:
            raise RFailed("the R process ended; its last lines are in the log")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RFailed(str(answer["error"]))
        return answer

    def predict(self, rows: Rows) -> Any:
        """What predict_fn returned: a list, a list of rows, or a dict of lists where it named its columns. Raises RFailed."""
        columns = [{"name": name, "kind": self._kinds.get(name, _kind(values)), "values": values} for name, values in rows.columns.items()]
        answer = self._ask(json.dumps({"rows": rows.count, "columns": columns}, allow_nan=False).encode() + b"\n")
        found = [[_double(v) for v in c["values"]] if c["double"] else c["values"] for c in answer["columns"]]
        if answer["names"] is not None:
            return dict(zip(answer["names"], found))
        return found[0] if len(found) == 1 else [list(row) for row in zip(*found)]


def _double(text: str) -> float:
    return float("nan") if text == "NA" else float(text)


def _kind(values: list[Any]) -> str:
    """The kind of a column that `preprocess` made."""
    known = [v for v in values if v is not None]
    for kind, types in (("bool", (bool,)), ("int", (int,)), ("float", (int, float))):
        if all(isinstance(v, types) for v in known):
            return kind
    return "str"
