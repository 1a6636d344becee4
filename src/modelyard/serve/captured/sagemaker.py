"""SageMaker's data-capture files, of what was captured: `ENDPOINT/VARIANT/yyyy/mm/dd/hh/*.jsonl`, an event a row.

Data is JSON with the columns' names. A segment gives a file an hour and variant, always of the same name and content: writing it again
after a crash changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import files
from modelyard.tables import EVENT_TIME, EXTRA, FEATURE, INFERENCE_ID, OUTPUT, RECEIVED_AT, VERSION

if TYPE_CHECKING:
    import polars as pl

_EVENTS = uuid.UUID("6f1c2f2e-9a0b-5c38-8f7e-3d2b1a4c5d6e")
JSON = "application/json"


def write(root: Path, endpoint: str, segment: str, frames: Iterable[pl.DataFrame], time_col: str | None = None) -> None:
    """Write the rows of a segment, a table a version, below `root`. Callers say in `time_col` when a row happened. Raises OSError."""
    lines: dict[Path, list[bytes]] = {}
    for frame in frames:
        for number, row in enumerate(frame.iter_rows(named=True)):
            at: datetime = row[RECEIVED_AT].astimezone(UTC)
            folder = root / endpoint / str(row[VERSION]) / at.strftime("%Y/%m/%d/%H")
            event = str(uuid.uuid5(_EVENTS, f"{segment}/{row[VERSION]}/{number}"))
            lines.setdefault(folder, []).append(json.dumps(_event(row, event, at, time_col), ensure_ascii=False, default=_text).encode())
    for folder, texts in lines.items():
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / f"{segment}.jsonl", b"\n".join(texts) + b"\n", durable=True)


def trim(root: Path, before: datetime) -> int:
    """Let go of the files of hours that were over before then; how many. Raises OSError."""
    gone = 0
    for hour in root.glob("*/*/????/??/??/??"):
        year, month, day, clock = map(int, hour.parts[-4:])
        if datetime(year, month, day, clock, tzinfo=UTC) + timedelta(hours=1) <= before:
            for file in hour.glob("*.jsonl"):
                file.unlink()
                gone += 1
            for folder in (hour, *list(hour.parents)[:3]):
                with contextlib.suppress(OSError):  # it holds others
                    folder.rmdir()
    return gone


def _event(row: dict[str, Any], event: str, at: datetime, time_col: str | None) -> dict[str, Any]:
    told = {time_col: row[EVENT_TIME]} if time_col and row[EVENT_TIME] != row[RECEIVED_AT] else {}
    return {
        "captureData": {
            "endpointInput": _side("INPUT", {**told, **_part(row, FEATURE), **_part(row, EXTRA)}),
            "endpointOutput": _side("OUTPUT", _part(row, OUTPUT)),
        },
        "eventMetadata": {
            "eventId": event,
            "inferenceId": row[INFERENCE_ID],
            "inferenceTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "eventVersion": "0",
    }


def _side(mode: str, values: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(values, ensure_ascii=False, default=_text)
    return {"observedContentType": JSON, "mode": mode, "data": data, "encoding": "JSON"}


def _part(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _text(value: Any) -> str:
    """A time as text."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
