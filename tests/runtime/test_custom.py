"""Servers of any language: the example's, with its port and its paths written into it, in the sandbox; and what goes wrong outside it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import StepFailed, Unavailable
from modelyard.runners import Loadable, running
from modelyard.runtime.custom import executable
from modelyard.runtime.loading import CannotLoad, Served, load
from modelyard.serve.refusals import ModelFailed
from modelyard.serve.runner import predict
from modelyard.signature import Column, Signature
from tests.conftest import ROOT
from tests.needs import needs_bwrap

SIGNED = Signature("multiclass_classification", (Column("x", "float"), Column("y", "float")), classes=("far", "near"))
SERVER = """#!/usr/bin/env python3
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        rows = json.loads(body)
        if rows[0][0] < 0: os._exit(7)
        self.send_response(200 if rows[0][0] < 9 else 500); self.end_headers()
        self.wfile.write(json.dumps([v for v, _ in rows]).encode() if rows[0][0] < 9 else b'too far')
http.server.HTTPServer(('127.0.0.1', int(os.environ['SAGEMAKER_BIND_TO_PORT'])), Handler).serve_forever()
"""


def world(tmp_path: Path, serve: str, signed: Signature = SIGNED, **options: str) -> Loadable:
    for name in ("model", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "serve").write_text(serve)
    (tmp_path / "code" / "serve").chmod(0o755)
    (tmp_path / "signature.json").write_text(json.dumps(signed.to_dict()))
    return Loadable(
        model=tmp_path / "model",
        code=tmp_path / "code",
        entry_point="train",
        signature=tmp_path / "signature.json",
        framework="custom",
        python=Path(sys.executable),
        home=tmp_path / "home",
        options=options,
    )


@needs_bwrap
def test_a_port_and_paths_that_are_written_into_a_server_are_there(tmp_path: Path, home: Path) -> None:
    what = world(tmp_path, (ROOT / "examples" / "wine-server" / "serve").read_text())
    centres = {"far": [10.0, 10.0], "near": [0.0, 0.0]}
    (what.model / "centres.json").write_text(json.dumps({"spread": [1.0, 1.0], "centres": centres}))
    table = pl.DataFrame({"x": [0.5, 9.0], "y": [0.0, 9.5]})
    with running(what, home / "log") as first, running(what, home / "log2") as second:  # each has a port 8080 of its own
        for socket in (first, second):
            answer = predict(socket, table, SIGNED)
            assert answer["y.prediction"].to_list() == ["near", "far"]
            assert answer["y.probability_near"][0] > 0.99


NUMBER = Signature("regression", (Column("x", "float"), Column("y", "float")))


def test_what_a_server_refuses_is_said_and_one_that_ends_ends_its_runner(tmp_path: Path, home: Path) -> None:
    what = world(tmp_path, SERVER, NUMBER, **{"content-type": "application/json"})
    with running(what, home / "log") as socket:
        assert predict(socket, pl.DataFrame({"x": [1.5, 2.5], "y": [0.0, 0.0]}), NUMBER)["y.prediction"].to_list() == [1.5, 2.5]
        with pytest.raises(ModelFailed, match="/invocations answered 500: too far"):
            predict(socket, pl.DataFrame({"x": [9.0], "y": [0.0]}), NUMBER)
        with pytest.raises((ModelFailed, Unavailable), match="does not answer"):  # whichever of the two is first to go
            predict(socket, pl.DataFrame({"x": [-1.0], "y": [0.0]}), NUMBER)
        deadline = time.monotonic() + 30
        while "the custom process ended with exit code 7" not in (home / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_server_that_cannot_start_says_so(tmp_path: Path, home: Path) -> None:
    what = world(tmp_path, "#!/bin/sh\nexit 5\n")
    with pytest.raises(StepFailed, match="the server ended with exit code 5 before it answered /ping"), running(what, home / "log"):
        pass


def test_where_the_server_is_looked_for(tmp_path: Path) -> None:
    model, code = tmp_path / "model", tmp_path / "code"
    code.mkdir()
    with pytest.raises(CannotLoad, match="there is no executable `serve`"):
        executable(str(model), str(code), "train")
    (model / "code").mkdir(parents=True)
    (model / "code" / "serve").write_text("")
    with pytest.raises(CannotLoad, match="serve is not executable"):
        executable(str(model), str(code), "")
    for path in (model / "code" / "serve", code / "serve", code / "other"):
        path.write_text("")
        path.chmod(0o755)
        assert executable(str(model), str(code), "other" if path.name == "other" else "") == path


def test_outside_a_sandbox_a_server_is_told_a_free_port(tmp_path: Path) -> None:
    what = world(tmp_path, SERVER, NUMBER)
    served: list[Served] = []
    port = set[Any]()
    for _ in range(2):
        served.append(load(str(what.model), str(what.code), "", NUMBER.to_dict(), "custom", content_type="application/json"))
        port.add(served[-1].facts["port"])
    assert len(port) == 2 and 8080 not in port and "MODELYARD_SANDBOXED" not in os.environ
    assert served[0].predict({"x": [3.0], "y": [1.0]}, 1) == {"prediction": [3.0]}
    for one in served:
        assert one.process is not None
        one.process.kill()
        one.process.wait()
