"""What is kept of an endpoint's requests: what its front is told, and what the owner makes of it from time to time."""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.config.spec import Capture, Stage
from modelyard.events import CaptureTrimmed
from modelyard.flows.holdout import is_traffic
from modelyard.monitor import windows
from modelyard.monitor.profile import Profiles
from modelyard.serve import captured, routes
from modelyard.serve.captured import sagemaker
from modelyard.tables import INFERENCE_ID
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

_MOVING = ("up", "deploy", "retrain")
_KEY_BYTES = 32
WORDS, SILENCE = 512, timedelta(days=28)
"""Windows of each monitor, and how long back, whose words stay however short captured rows are kept: by them alarms know since when they
last, and what traffic is usual (`flows.monitor.alarming`)."""


def folder(shop: Workshop, model: str, stage: Stage) -> Path:
    """Where an endpoint's capture lies."""
    return shop.home.endpoints / f"{model}-{stage}" / "capture"


def asked(shop: Workshop, config: Capture) -> routes.Capture:
    """What the front is told; the target names the folder."""
    redact = tuple(routes.Redact(rule.column, rule.how) for rule in config.redact)
    key = str(_key(shop)) if any(rule.how == "hash" for rule in redact) else None
    return routes.Capture("", sample=config.sample, mode=config.mode, redact=redact, key=key)


def _key(shop: Workshop) -> Path:
    """The key of hashed columns, made once: the same value has the same hash in all captures of a home."""
    path = shop.home.path / "capture.key"
    if not path.exists():
        work = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(work, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(work)  # of two that make one at once, the first one's counts
        work.unlink()
    return path


def compact(shop: Workshop, model: str, stage: Stage) -> None:
    """Make Parquet of what the front has finished, and SageMaker's files where they are asked for. Raises OSError."""
    where, export = folder(shop, model, stage), None
    in_force = bool(shop.model(model).config)  # not before a first release
    if in_force and shop.stage_config(model, stage).deploy.capture.sagemaker:
        export = partial(_export, _sagemaker(shop, model, stage), where.parent.name, shop.stage_config(model, stage).data.time_col)
    captured.compact(where, export)


def _export(root: Path, endpoint: str, time_col: str | None, segment: str, frames: list[pl.DataFrame]) -> None:
    """What callers asked, in SageMaker's files."""
    asked = [frame.filter(is_traffic(frame[INFERENCE_ID])) for frame in frames]
    sagemaker.write(root, endpoint, segment, asked, time_col)


def _sagemaker(shop: Workshop, model: str, stage: Stage) -> Path:
    return folder(shop, model, stage).with_name("sagemaker")


def tidy(shop: Workshop, model: str, stage: Stage) -> captured.Trimmed:
    """Compact, and let go of what is kept no longer. The journal says what went. Raises OSError."""
    compact(shop, model, stage)
    config, now = shop.stage_config(model, stage).deploy.capture, shop.clock.now()
    done = captured.trim(
        folder(shop, model, stage),
        before=None if config.retain is None else now - config.retain,
        max_bytes=config.max_size,
        keep_from=needed_from(shop, model, now),
    )
    if config.retain is not None:
        sagemaker.trim(_sagemaker(shop, model, stage), now - config.retain)
        if stage == "production":  # of which alone windows are profiled
            Profiles(shop.home.profiles(model)).trim(now - config.retain)
            _forget(shop, model, now - max(config.retain, SILENCE))
    if done.rows:
        since = done.since.isoformat() if done.since else ""
        shop.record([CaptureTrimmed(model, stage, done.rows, done.bytes, since)])
    return done


def _forget(shop: Workshop, model: str, before: datetime) -> None:
    """Let go of what monitors said of windows that were over before then, but of what alarms and the governor look back at."""
    watch = shop.config(model)
    keep = max(WORDS, watch.monitor.alert_after.num_windows, watch.retrain.after.num_windows)
    shop.book.forget(model, before.isoformat(), keep)


def needed_from(shop: Workshop, model: str, now: datetime) -> datetime:
    """From when on rows must stay, whatever is asked: since the newest whole window began, and since the open roll-out did."""
    config, state = shop.config(model), shop.model(model)
    open_now = windows.window_at(config.monitor.window, config.timezone, now)
    start = windows.window_at(config.monitor.window, config.timezone, open_now.start - timedelta(microseconds=1)).start
    if len(state.stage("production").weights) > 1:
        running = [run.started_at for run in state.runs.values() if run.status == "running" and run.flow in _MOVING]
        start = min([start, *map(datetime.fromisoformat, running)])
    return start
