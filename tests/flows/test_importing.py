"""A SageMaker user's capture files, judged here."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import BadInput
from modelyard.flows import history, importing
from modelyard.monitor import datacapture

from .watched import DAY, T0, Watched, settings

LABELS = {"inference_id": ["e-0-0"], "label": [1.0]}


def sagemaker(root: Path, days: int, rows: int, *, x: float, ids: str = "e") -> Path:
    """Capture files as an endpoint of SageMaker writes them: CSV, an event a request."""
    for day in range(days):
        at = T0 + day * DAY + timedelta(hours=3)
        folder = root / "demo-endpoint" / "AllTraffic" / at.strftime("%Y/%m/%d/%H")
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for row in range(rows):
            value = x + row % 10
            half = {"observedContentType": "text/csv", "encoding": "CSV"}
            event = {
                "captureData": {
                    "endpointInput": {**half, "mode": "INPUT", "data": f"{value}\n"},
                    "endpointOutput": {**half, "mode": "OUTPUT", "data": f"{2 * value}\n"},
                },
                "eventMetadata": {"eventId": f"{ids}-{day}-{row}", "inferenceTime": at.strftime("%Y-%m-%dT%H:%M:%SZ")},
                "eventVersion": "0",
            }
            lines.append(json.dumps(event))
        (folder / f"{ids}.jsonl").write_text("\n".join(lines) + "\n")
    return root


def truths(root: Path, labels: dict[str, float]) -> Path:
    folder = root / "2026/03/01/05"
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {"groundTruthData": {"data": str(v), "encoding": "CSV"}, "eventMetadata": {"eventId": k}, "eventVersion": "0"}
        for k, v in labels.items()
    ]
    (folder / "truth.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root


def test_captured_windows_are_judged_with_their_ground_truth(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = Watched(home, monkeypatch)
    folder = sagemaker(tmp_path / "capture", days=2, rows=30, x=1000.0)
    assert importing.take(world.shop, "demo", folder)["rows"] == 60
    ids = [f"e-0-{row}" for row in range(30)]
    assert history.label(world.shop, "demo", datacapture.ground_truth(truths(tmp_path / "truth", dict.fromkeys(ids, 1.0))))["matched"] == 30
    world.time.advance_to(T0 + 3 * DAY)
    world.look()
    verdicts = {(word.monitor, word.start[:10]): word for word in world.shop.book.between("demo")}
    assert verdicts["drift", "2026-03-01"].status == "violated" and verdicts["drift", "2026-03-01"].version == "1"
    measured = verdicts["performance", "2026-03-01"]
    assert (measured.status, measured.evidence["labels"]) == ("violated", 30)
    assert "1 let go" not in str(world.shop.model("demo"))


def test_taken_again_nothing_counts_twice_and_what_is_new_counts(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = Watched(home, monkeypatch)
    folder = sagemaker(tmp_path, days=1, rows=10, x=0.0)
    taken = [importing.take(world.shop, "demo", folder) for _ in range(2)]
    assert [(t["rows"], t["known"]) for t in taken] == [(10, 0), (0, 10)]
    sagemaker(tmp_path, days=1, rows=5, x=0.0, ids="f")
    assert importing.take(world.shop, "demo", folder)["rows"] == 5
    assert history.answers(world.shop, "demo").height == 15
    events = [str(entry.event) for entry in world.shop.journal.entries("demo", limit=100)]
    assert f"0 captured rows taken in from {folder}, 10 known already" in events


def test_a_line_that_does_not_hold_keeps_all_out(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = Watched(home, monkeypatch)
    folder = sagemaker(tmp_path, days=1, rows=3, x=0.0)
    (file,) = folder.rglob("*.jsonl")
    file.write_text(file.read_text().replace('"data": "2.0\\n"', '"data": "two"', 1))
    with pytest.raises(BadInput):
        importing.take(world.shop, "demo", folder)
    assert history.answers(world.shop, "demo").is_empty()


def test_a_time_of_another_century_keeps_all_out(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = Watched(home, monkeypatch)
    folder = sagemaker(tmp_path, days=1, rows=3, x=0.0)
    (file,) = folder.rglob("*.jsonl")
    file.write_text(file.read_text().replace("2026-03-01", "1926-03-01", 1))
    with pytest.raises(BadInput, match="before 1970"):
        importing.take(world.shop, "demo", folder)
    assert history.answers(world.shop, "demo").is_empty() and history.label(world.shop, "demo", pl.DataFrame(LABELS))["waiting"] == 1


def test_what_is_redacted_here_is_redacted_there_too(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for how in ("drop", "hash"):
        words = settings(deploy={"capture": {"redact": [{"column": "x", "how": how}]}})
        world = Watched(home / how, monkeypatch, words)
        importing.take(world.shop, "demo", sagemaker(tmp_path, days=1, rows=3, x=5.0))
        table = history.answers(world.shop, "demo")
        assert ("f.x" in table.columns) == (how == "hash")
        if how == "hash":
            assert all(len(value) == 64 for value in table["f.x"]) and table["f.x"].n_unique() == 3
