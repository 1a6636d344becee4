"""Bias of a window: Clarify's post-training metrics of the rows that were answered, against those the version was built with.

One monitor, which judges a window twice. The metrics of the answers alone (DPPL, DI, CDDPL) are judged as soon as the window is over;
those that need labels once `performance.label_delay` has passed too, since labels that come early are seldom like the others, and again
whenever more labels come. The flip test is not monitored (`quality.bias.production`).

A facet's column has to come with the requests: as a feature, or beside them, where `data.schema.sensitive_not_served` names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.config.spec import Config
from modelyard.errors import YardError
from modelyard.flows.fairness import DOCUMENT
from modelyard.flows.monitor.window import Window
from modelyard.monitor import bias
from modelyard.monitor.bias import Measured
from modelyard.monitor.verdicts import Verdict
from modelyard.monitor.words import listing

if TYPE_CHECKING:
    import polars as pl

FIELDS = ("facet", "column", "metric", "value", "low", "high", "rows", "others")


def enabled(config: Config) -> bool:
    return config.bias is not None and config.monitor.bias.enabled


def mature(window: Window) -> bool:
    """Whether the labels of the window are due."""
    return window.shop.clock.now() >= window.span.end + window.config.monitor.performance.label_delay


def judge(window: Window) -> Verdict:
    """The verdict; evidence `mature` says whether the metrics that need labels were looked at."""
    grown = mature(window)
    facts: dict[str, Any] = {"rows": window.rows.height, "labels": 0, "mature": grown}
    document = window.document(DOCUMENT)
    if document is None:
        said = "the version was built without `bias`: it has nothing to be compared with until it is built again"
        return Verdict("bias", "unknown", f"bias: {said}", facts)
    needed = window.config.monitor.bias.min_rows
    if window.rows.height < needed:
        return Verdict("bias", "unknown", f"bias: {window.rows.height:,} rows in the window, {needed:,} are needed", facts)
    try:
        facts["labels"] = int(window.labelled[tables.LABEL].count())
        return _judge(window, document, window.labelled if grown else window.rows, facts, grown)
    except YardError as exc:  # what callers send beside their rows may be anything
        return Verdict("bias", "unknown", f"bias: {exc.what}" + (f"; {exc.next}" if exc.next else ""), facts)


def _judge(window: Window, document: dict[str, Any], rows: pl.DataFrame, facts: dict[str, Any], grown: bool) -> Verdict:
    from modelyard.quality.bias import NEUTRAL, production

    asked, criteria = window.config.monitor.bias, window.config.bias.criteria if window.config.bias else ()
    beside, left, lacking = _columns(window, document, rows, production.columns(document))
    if not left["facets"]:
        return Verdict("bias", "unknown", f"bias: {lacking}", facts)
    metrics, later = _metrics(asked.metrics, facts, asked.min_rows, grown)
    found = [_row(row) for row in production.measured(left, rows, window.signature, metrics, beside)] if metrics else []
    before = [_row(row) for row in production.baseline(left, metrics)]
    waits = "; ".join(filter(None, (later, lacking)))
    return bias.judge(found, before, asked, criteria=criteria, neutral=NEUTRAL, facts=facts, waits=waits)


def _metrics(wanted: tuple[str, ...] | None, facts: dict[str, Any], least: int, grown: bool) -> tuple[list[str], str]:
    """What can be judged now, and what of the rest is waited for."""
    from modelyard.quality.bias import production

    metrics = [name for name in production.MONITORED if wanted is None or name in wanted]
    if all(name in production.LABEL_FREE for name in metrics) or (facts["labels"] >= least and grown):
        return metrics, ""
    later = [name for name in metrics if name not in production.LABEL_FREE]
    said = f"{facts['labels']:,} labels, {least:,} are needed" if grown else "labels are not due yet"
    return [name for name in metrics if name in production.LABEL_FREE], f"not judged: {listing(later, 3)} ({said})"


def _columns(
    window: Window, document: dict[str, Any], rows: pl.DataFrame, needed: tuple[str, ...]
) -> tuple[pl.DataFrame, dict[str, Any], str]:
    """The columns that facets need, row by row, under their own names; the document with the facets that can be compared; and a
    sentence on what lacks."""
    from modelyard.quality.bias import production

    redacted = window.config.deploy.capture.redacted
    places = {name: (tables.feature(name), tables.extra(name)) for name in needed if name not in redacted}
    there = {name: place for name, both in places.items() for place in both if place in rows.columns and rows[place].count()}
    table = rows.select(rows[place].alias(name) for name, place in there.items())
    lacking = [name for name in needed if name not in there]
    document = {**document, "facets": [f for f in document["facets"] if not set(f["columns"]) & set(lacking)]}
    if document["group_col"] in lacking:
        document["group_col"] = None
    if (weight := document.get("weight_col")) in lacking:  # callers seldom know of them: the hold-out's rows count once, too
        document, lacking = production.unweighted(document), [name for name in lacking if name != weight]
    if not lacking:
        return table, document, ""
    kept = [name for name in lacking if name in redacted]
    empty = [name for name in lacking if name not in redacted and tables.feature(name) in rows.columns]
    sent = [name for name in lacking if name not in (*kept, *empty)]
    said = [f"the capture redacts {listing(kept)}"] if kept else []
    said += [f"{listing(empty)} {'is' if len(empty) == 1 else 'are'} missing in all rows"] if empty else []
    said += [f"requests come without {listing(sent)}: send it beside the features, with `data.schema.sensitive_not_served`"] if sent else []
    return table, document, "; ".join(said)


def _row(row: dict[str, Any]) -> Measured:
    return Measured(**{name: row[name] for name in FIELDS})
