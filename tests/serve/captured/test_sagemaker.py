from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelyard.serve.captured import compact, sagemaker

from ..capture.made import put, writer


def test_an_event_a_row_by_variant_and_hour_and_the_same_again(tmp_path: Path) -> None:
    w, root = writer(tmp_path / "capture"), tmp_path / "sagemaker"
    put(w, ["p"])
    put(w, ["q", "r"], extras={"town": ["Ely", None]})
    put(w, ["s"], version="2")
    w.close()
    segment = next((tmp_path / "capture").glob("seg-*"))
    kept = segment.read_bytes()

    def export(name: str, frames: list[object]) -> None:
        sagemaker.write(root, "demo", name, frames)  # type: ignore[arg-type]

    assert compact(tmp_path / "capture", export) == 1
    written = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.jsonl")}
    assert sorted(written) == [f"demo/{v}/2026/09/21/14/{segment.stem}.jsonl" for v in "12"]
    events = [json.loads(line) for text in written.values() for line in text.splitlines()]
    assert len({event["eventMetadata"]["eventId"] for event in events}) == 4
    event = next(e for e in events if e["eventMetadata"]["inferenceId"] == "q")
    assert event["eventVersion"] == "0" and event["eventMetadata"]["inferenceTime"] == "2026-09-21T14:13:20Z"
    given, answered = event["captureData"]["endpointInput"], event["captureData"]["endpointOutput"]
    assert (given["mode"], answered["mode"], given["encoding"]) == ("INPUT", "OUTPUT", "JSON")
    assert json.loads(given["data"]) == {"a": None, "t": "2026-09-21T14:13:20Z", "s": "x\n", "town": "Ely"}
    assert json.loads(answered["data"]) == {"prediction": "y", "probability_n": 0.25, "probability_y": 0.75}
    segment.write_bytes(kept)  # as if it had been killed before the segment gave way
    compact(tmp_path / "capture", export)
    assert written == {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.jsonl")}


def test_hours_that_are_too_old_go_with_their_folders(tmp_path: Path) -> None:
    first = datetime(2026, 3, 31, 22, tzinfo=UTC)
    for hour in range(5):
        folder = tmp_path / "demo" / "1" / (first + timedelta(hours=hour)).strftime("%Y/%m/%d/%H")
        folder.mkdir(parents=True)
        (folder / "part.jsonl").write_text("{}")
    assert sagemaker.trim(tmp_path, first + timedelta(hours=3, minutes=59)) == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jsonl")) == [
        f"demo/1/2026/04/01/{hour:02}/part.jsonl" for hour in (1, 2)
    ]
    assert not (tmp_path / "demo" / "1" / "2026" / "03").exists()
    assert sagemaker.trim(tmp_path / "none", first) == 0
