"""A real Label Studio on loopback: tasks that we wrote go in, a person answers, and what it exports comes back as labels."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.build import locks
from modelyard.build.envs import ensure
from modelyard.monitor import labelstudio, requests
from modelyard.signature import Column, Signature
from tests.monitor.test_requests import BASELINE, BINARY, COLUMNS, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("MODELYARD_TEST_LABEL_STUDIO") != "1", reason="800 MB of packages: only with MODELYARD_TEST_LABEL_STUDIO=1"
    ),
]
REQUIREMENTS = "label-studio==1.23.2\nlabel-studio-sdk==2.1.2\n"
PERSON = Path(__file__).with_name("label_studio_person.py")
SEVERAL = Signature("multilabel_classification", COLUMNS, classes=("p", "q", "r"))
NUMBER = Signature("regression", (Column("a", "float"), Column("b", "float")), target_col="y")


class Studio:
    """A server of this test's own, with a user whose token is known; everything it keeps is below `folder`."""

    def __init__(self, folder: Path) -> None:
        (folder / "requirements.txt").write_text(REQUIREMENTS)
        self.python = ensure(locks.lock(folder / "requirements.txt", "custom", folder).text, folder).python
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address, self.token = f"http://127.0.0.1:{port}", secrets.token_hex(20)
        quiet = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
        own = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"), "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true", "HOME": str(folder)}
        who = ["--username", "ann@example.com", "--password", secrets.token_hex(8), "--user-token", self.token]
        command = [str(self.python.with_name("label-studio")), "start", "--no-browser", "--host", self.address]
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [*command, "--internal-host", "127.0.0.1", "--port", str(port), *who],
                env={**os.environ, **quiet, **own},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._log = folder / "log"

    def wait(self) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise AssertionError(self._log.read_text()[-3000:])

    def label(self, folder: Path, answers: dict[str, Any]) -> None:
        (folder / "answers.json").write_text(json.dumps(answers))
        command = [str(self.python), str(PERSON), self.address, self.token, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(60)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    found = Studio(tmp_path_factory.mktemp("studio"))
    try:
        found.wait()
        yield found
    finally:
        found.close()


def ask(folder: Path, signature: Signature, rows: pl.DataFrame) -> list[str]:
    """Four tasks on disk; their ids."""
    at = pl.lit("2026-03-01T00:00:00+00:00").str.to_datetime(time_zone="UTC")
    rows = rows.with_columns(at.alias("event_time"), pl.lit("1").alias("version"))
    chosen = requests.choose(rows, signature, BASELINE, 4)
    (folder / "tasks.json").write_text(json.dumps(labelstudio.tasks(chosen, signature, "demo")))
    (folder / "tasks.xml").write_text(labelstudio.interface(signature))
    return chosen["inference_id"].to_list()


@pytest.mark.parametrize(
    ("signature", "answers", "wanted"),
    [
        (BINARY, [{"choices": ["1"]}, {"choices": ["0"]}, None], [1, 0, None]),
        (SEVERAL, [{"choices": ["r", "p"]}, {"choices": ["q"]}, None], ["p|r", "q", None]),
        (NUMBER, [{"number": 2.5}, {"number": -3}, None], [2.5, -3.0, None]),
    ],
    ids=["classes", "labels", "numbers"],
)
def test_there_and_back(studio: Studio, tmp_path: Path, signature: Signature, answers: list[Any], wanted: list[Any]) -> None:
    """The third task is skipped, and the fourth is left: neither says anything."""
    said = pl.lit("p|q") if signature is SEVERAL else pl.lit(1.5) if signature is NUMBER else pl.col("y.prediction")
    rows = table(200, 1, **{f"y.probability_{n}": pl.lit(0.4) for n in "pqr"}).with_columns(said.alias("y.prediction"))
    ids = ask(tmp_path, signature, rows)
    studio.label(tmp_path, dict(zip(ids, answers, strict=False)))
    for name in ("export.json", "export_min.json", "export.csv"):
        file = tmp_path / name
        assert labelstudio.is_export(file), name
        labels = labelstudio.read(file, signature)
        known = {row["inference_id"]: row["label"] for row in labels.to_dicts() if row["label"] is not None}
        assert known == {id: answer for id, answer in zip(ids, wanted, strict=False) if answer is not None}, name
        assert labels["labelled_at"].drop_nulls().len() == 2
