"""Schemathesis reads a live front's own /openapi.json and calls all that it says, with examples drawn by its schemas and against them.

Not checked: that whatever a schema allows is accepted and all else refused. A schema cannot say which categories a model has seen.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import sizes
from .fronts import KINDS, LiveFront

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
THOROUGH = 50
"""Examples from which the slow phase, which tries every boundary of every schema, is run too."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_the_openapi_document_is_kept_whatever_is_sent(kind: str, tmp_path: Path) -> None:
    front = LiveFront(kind)
    try:
        command = [str(Path(sys.executable).with_name("st")), "run", f"http://127.0.0.1:{front.port}/openapi.json"]
        command += [
            "--checks",
            CHECKS,
            "--max-examples",
            str(sizes.EXAMPLES),
            "--seed",
            str(sizes.SEED),
            "--no-color",
            "--continue-on-failure",
        ]
        command += ["--phases", "examples,coverage,fuzzing" if sizes.EXAMPLES >= THOROUGH else "examples,fuzzing"]
        command += ["--suppress-health-check", "all", "--request-timeout", "30", "--generation-database", "none"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        said = done.stdout + done.stderr
        print(said[said.find("= SUMMARY =") :], file=sys.stderr)
        assert done.returncode == 0, said[-8000:]
        assert "Operations:       20 selected / 20 total" in said or "Tested: 20" in said
        assert front.alive() and front.log() == ""
    finally:
        front.stop()
