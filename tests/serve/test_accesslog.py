from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from modelyard.serve import accesslog
from modelyard.serve.accesslog import AccessLog
from modelyard.serve.tracing import begin

from .planned import in_a_loop


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@in_a_loop
async def test_a_line_a_request_readable_for_its_owner_alone(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    trace = begin(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)
    log.add("POST", "/invocations", 200, 1.23456, 2, "7", 'i"1\n', trace, "shop")
    log.add("GET", "/nothing", 404, 0.1)
    log.flush()
    await log.close()
    first, second = lines(log.path)
    assert {k: v for k, v in first.items() if k != "time"} == {
        "method": "POST",
        "path": "/invocations",
        "status": 200,
        "ms": 1.235,
        "rows": 2,
        "version": "7",
        "inference_id": 'i"1\n',
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "caller": "shop",
    }
    assert second.keys() == {"time", "method", "path", "status", "ms"}
    assert log.path.stat().st_mode & 0o777 == 0o600


@in_a_loop
async def test_full_files_are_put_aside_and_the_oldest_go(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log", file_bytes=1)
    for number in range(accesslog.FILES_KEPT + 3):
        log.add("GET", f"/{number}", 200, 0.1)
        await log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["access.log", *(f"access.log.{i + 1}" for i in range(accesslog.FILES_KEPT))]
    newest = [lines(tmp_path / name)[0]["path"] for name in ("access.log", "access.log.1", "access.log.5")]
    assert newest == ["/7", "/6", "/2"]


@in_a_loop
async def test_a_disk_that_does_not_take_it_costs_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AccessLog(tmp_path / "missing" / "access.log")
    log.add("GET", "/", 200, 0.1)
    log.flush()
    await log.close()
    assert log.dropped == 1
    monkeypatch.setattr(accesslog, "MOST_WAITING", 2)
    for _ in range(5):
        log.add("GET", "/", 200, 0.1)
    assert log.dropped == 4


@in_a_loop
async def test_lines_that_come_while_the_disk_is_at_work_wait_for_the_next_turn(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    for number in range(2000):
        log.add("GET", f"/{number}", 200, 0.1)
        if number % 100 == 0:
            log.flush()
            await asyncio.sleep(0)
    await log.close()
    assert [line["path"] for line in lines(log.path)] == [f"/{n}" for n in range(2000)]
