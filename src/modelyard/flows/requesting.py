"""Label requests: which captured predictions to ask people about, written as a file for them, and remembered so as not to ask twice."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from modelyard import files, tables
from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.errors import BadInput, NotFound
from modelyard.flows import history
from modelyard.flows.monitor.window import Built
from modelyard.flows.picturing import instant
from modelyard.home import usual_mode
from modelyard.monitor import labels, labelstudio, requests, windows
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 200_000
"""Newest captured rows that are looked at."""
Format = Literal["label-studio", "csv"]
ASKED = "asked_because"


def request(
    shop: Workshop,
    model: str,
    target: Path,
    *,
    count: int = 100,
    format: Format = "label-studio",
    since: str | None = None,
    window: str | None = None,
    by_chance: float = 0.1,
    blind: bool = False,
    again: bool = False,
) -> dict[str, Any]:
    """Write the `count` predictions to ask about to `target`; for Label Studio also its interface, beside it, as .xml.

    Args:
        since: an instant, or a duration back from now such as 7d; window: the one that begins at (or holds) this instant. By default
            the newest `MOST_ROWS` rows.
        again: ask also about rows that were asked about before.

    Returns {"model", "asked", "unlabelled": rows to choose from, "asked_before": those left out, "file", "interface": file or None,
    "reasons": {kind: count}}. Raises NotFound where there is nothing to ask about, BadInput.
    """
    state, config = shop.model(model), shop.config(model)
    version = shop.version(model, state.champion)
    built = Built(bundle.open(version.digest, shop.home.path))
    if (baseline := built.document("baseline.json")) is None:
        what = "registered without a baseline: nothing says which predictions are unlike what it learned from"
        raise NotFound(what, where=f"{model}:{version.version}", next="build it again, and release that version")
    found = _unlabelled(shop, model, config, since, window)
    before = set() if again else asked(shop, model)
    rows = found.filter(~found[tables.INFERENCE_ID].is_in(list(before)))
    if rows.is_empty():
        said = f"all {found.height:,} unlabelled predictions were asked about already" if found.height else "no prediction lacks a label"
        wider = "give an earlier --since, or another --window" if since or window else ""
        raise NotFound(said, where=model, next="--again asks anew" if found.height else wider)
    chosen = requests.choose(rows, built.bundle.signature, baseline, count, by_chance=by_chance, seed=len(before))
    interface = _write(target, chosen, built.bundle.signature, config, format, blind)
    _remember(shop, model, chosen, config)
    kinds = Counter("by chance" if priority is None else "wanted" for priority in chosen[requests.PRIORITY])
    return {
        "model": model,
        "asked": chosen.height,
        "unlabelled": rows.height,
        "asked_before": found.height - rows.height,
        "file": str(target),
        "interface": interface and str(interface),
        "chosen": dict(kinds),
        "first": chosen.select(tables.INFERENCE_ID, requests.REASON).head(5).to_dicts(),
    }


def _unlabelled(shop: Workshop, model: str, config: Config, since: str | None, window: str | None) -> pl.DataFrame:
    """Captured rows without a label, each id once, as it was answered last; without columns that the capture does not keep, and without
    sensitive ones that the model is not given: whoever labels is not to be led by them either."""
    import polars as pl

    zone = ZoneInfo(config.timezone)
    if window is not None and since is not None:
        raise BadInput("give `window` or `since`, not both")
    if window is not None:
        span = windows.window_at(config.monitor.window, config.timezone, instant(window, zone))
        rows = history.answers(shop, model, span.start, span.end)
    else:
        rows = history.newest(shop, model, MOST_ROWS, since=None if since is None else instant(since, zone, shop.clock.now()))
    rows = history.labelled(shop, model, rows).filter(pl.col(tables.LABEL).is_null()).drop(tables.LABEL, labels.GIVEN_AT, strict=False)
    hidden = (*config.deploy.capture.redacted, *config.data.schema_.sensitive_not_served)
    lost = {place(name) for name in hidden for place in (tables.feature, tables.extra)}
    return rows.unique(tables.INFERENCE_ID, keep="last", maintain_order=True).drop(lost, strict=False)


def _write(target: Path, rows: pl.DataFrame, signature: Signature, config: Config, format: Format, blind: bool) -> Path | None:
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}", where=str(target))
    if format == "csv":
        _put(target, _table(rows, signature, config, blind).write_csv())
        return None
    interface = target.with_suffix(".xml")
    tasks = labelstudio.tasks(rows, signature, config.model.name, blind=blind)
    _put(target, json.dumps(tasks, indent=1, allow_nan=False) + "\n")
    _put(interface, labelstudio.interface(signature))
    return interface


def _put(path: Path, text: str) -> None:
    """As the user's own files are: what the owner makes elsewhere is for its user alone."""
    files.replace(path, text.encode(), durable=False)
    if (mode := usual_mode()) is not None:
        path.chmod(mode)


def _table(rows: pl.DataFrame, signature: Signature, config: Config, blind: bool) -> pl.DataFrame:
    """Under the model's own names, with an empty target to fill in, as `modelyard labels` reads it."""
    import polars as pl

    names = {n: n.partition(".")[2] for n in rows.columns if n.startswith(tables.FEATURE)}
    names |= {n: n.partition(".")[2] for n in rows.columns if n.startswith(tables.EXTRA) and n.partition(".")[2] not in names.values()}
    said = [] if blind else [n for n in rows.columns if n.startswith(tables.OUTPUT)]
    id = config.data.id_col or tables.INFERENCE_ID
    return rows.select(
        pl.col(tables.INFERENCE_ID).alias(id),
        *(pl.col(n).alias(name) for n, name in names.items() if name not in (id, signature.target_col)),
        *said,
        *([] if blind else [pl.col(requests.REASON).alias(ASKED)]),
        pl.lit(None, pl.String).alias(signature.target_col),
    )


# -- what was asked before ---------------------------------------------------------------------------------------------------------


def asked(shop: Workshop, model: str) -> set[str]:
    """The predictions that were asked about."""
    return {id for line in _lines(shop, model) for id in line["ids"]}


def _remember(shop: Workshop, model: str, rows: pl.DataFrame, config: Config) -> None:
    """Written after the file for people: who is killed between the two asks about the same again."""
    now, retain = shop.clock.now(), config.deploy.capture.retain
    kept = [line for line in _lines(shop, model) if retain is None or datetime.fromisoformat(line["at"]) > now - retain - timedelta(days=1)]
    kept.append({"at": now.isoformat(), "ids": rows[tables.INFERENCE_ID].to_list()})
    path = _memory(shop, model)
    path.parent.mkdir(exist_ok=True)
    files.replace(path, "".join(json.dumps(line) + "\n" for line in kept).encode(), durable=True)


def _lines(shop: Workshop, model: str) -> list[dict[str, Any]]:
    path = _memory(shop, model)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _memory(shop: Workshop, model: str) -> Path:
    return shop.home.path / "requests" / f"{model}.jsonl"
