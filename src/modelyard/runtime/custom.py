"""Servers of any language: an executable `serve` that answers GET /ping and POST /invocations, as SageMaker's own containers do."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from modelyard.runtime import codecs
from modelyard.runtime.rows import Rows
from modelyard.runtime.script import CannotLoad

START_SECONDS, PING_SECONDS, ANSWER_SECONDS = 240.0, 2.0, 60.0  # SageMaker's are 8 min, 2 s and 60 s
PORT = 8080


class ServerFailed(Exception):
    """The server refused a request, or is gone."""


class Server:
    """A running server, on 127.0.0.1 at SAGEMAKER_BIND_TO_PORT: 8080 in a sandbox, whose network is its own, else a free port."""

    def __init__(self, model_dir: str, code_dir: str, entry_point: str, content_type: str, accept: str) -> None:
        self._content_type, self._accept = content_type, accept
        program = executable(model_dir, code_dir, entry_point)
        self.port = PORT if os.environ.get("MODELYARD_SANDBOXED") else _free_port()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '/usr/bin:/bin')}"
        env = {**os.environ, "PATH": path, "SAGEMAKER_BIND_TO_PORT": str(self.port), "SM_MODEL_DIR": model_dir}
        env.pop("PYTHONPATH", None)  # it is ours, not the server's
        try:
            self.process = subprocess.Popen([str(program), "serve"], cwd=str(program.parent), env=env, stdin=subprocess.DEVNULL)
        except OSError as exc:
            raise CannotLoad(f"{program.name} cannot be started: {exc.strerror}") from exc
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ping():
            if self.process.poll() is not None:
                raise CannotLoad(f"the server ended with exit code {self.process.returncode} before it answered /ping")
            if time.monotonic() > deadline:
                self.process.kill()
                raise CannotLoad(f"the server did not answer /ping on port {self.port} within {START_SECONDS:g} s{self._where()}")
            time.sleep(0.05)

    def _where(self) -> str:
        return "" if self.port == PORT else ": without a sandbox it must listen on the port that SAGEMAKER_BIND_TO_PORT names"

    def _ping(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._ask("GET", "/ping", None, {}, PING_SECONDS)[0] == 200
        return False

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str], timeout: float) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("Content-Type") or ""
        finally:
            connection.close()

    def predict(self, rows: Rows) -> Any:
        """The values of its answer. Raises ServerFailed, BadOutput."""
        body = codecs.encode(rows.texted(), rows.count, self._content_type)
        data = body.encode() if isinstance(body, str) else body
        headers = {"Content-Type": self._content_type, "Accept": self._accept}
        try:
            status, answer, kind = self._ask("POST", "/invocations", data, headers, ANSWER_SECONDS)
        except (OSError, http.client.HTTPException) as exc:
            raise ServerFailed(f"/invocations does not answer: {exc}") from exc
        if status != 200:
            first = (answer.decode("utf-8", "replace").strip().splitlines() or [""])[0][:200]
            raise ServerFailed(f"/invocations answered {status}: {first}")
        return codecs.decode_answer(answer, _known(kind) or self._accept, rows.count)


def _known(kind: str) -> str:
    """A server's content type, where it says something of the body: many leave their framework's own default (text/html)."""
    plain = kind.partition(";")[0].strip().lower()
    return "" if plain in ("", "text/html", "text/plain", "application/octet-stream") else plain


def executable(model_dir: str, code_dir: str, entry_point: str) -> Path:
    """The server: the entry point, else `serve` in the code or in the model. Raises CannotLoad."""
    folders = (Path(code_dir), Path(model_dir) / "code")  # the second comes with a model that was brought
    named = [folder / entry_point for folder in folders] if entry_point and Path(entry_point).name != "train" else []
    places = [*named, Path(code_dir) / "serve", Path(model_dir) / "code" / "serve", Path(model_dir) / "serve"]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise CannotLoad("there is no executable `serve`: put one beside the code, or name it as `inference.entry_point`")
    if not os.access(found, os.X_OK):
        raise CannotLoad(f"{found.name} is not executable: chmod +x it (in Git: git update-index --chmod=+x)")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
