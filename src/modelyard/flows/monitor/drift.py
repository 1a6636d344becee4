"""Drift of a window: its profile against what the version was built on, the same time of earlier periods, and its segments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from modelyard import tables
from modelyard.config.spec import Config, Drift, unfit
from modelyard.flows.monitor import beside
from modelyard.flows.monitor.window import Window
from modelyard.monitor import drift, joint
from modelyard.monitor.verdicts import Verdict
from modelyard.monitor.words import listing
from modelyard.signature import Signature


def judge(window: Window) -> Verdict:
    """The verdict; columns that the capture does not keep, or that the version does not know, are left out, and named."""
    watched, redacted = as_captured(window.config.monitor.drift, window.config, window.signature, window.rows.columns)
    unknown = [name for name in watched.columns or () if name not in window.baseline["columns"]]
    odd = drift.misfits(watched, drift.kinds_of(window.baseline))
    watched = drift.known_to(window.baseline, watched)
    enough = window.rows.height >= watched.min_rows
    segments, lacking = beside.segments(window) if enough else ([], [])
    seasonal = beside.seasonal(window) if enough else None

    def blamed() -> list[str]:
        return joint.blamed(window.rows, window.baseline["joint"])

    verdict = drift.judge(window.profile, window.baseline, watched, window.signature, seasonal, segments, blamed).verdict
    evidence = {**verdict.evidence, "redacted": redacted} if redacted else verdict.evidence
    notes = [*_notes(window, redacted, lacking, looked=enough), *_unknown(window, unknown), *_otherwise(odd)]
    notes += _apart(window, redacted, looked=enough)
    return replace(verdict, reason="; ".join([verdict.reason, *notes]), evidence=evidence)


def _unknown(window: Window, names: list[str]) -> Iterator[str]:
    """The config may be newer than the version that answered, which has none of its columns yet."""
    if names:
        yield f"not judged, since version {window.version} has no such feature: {', '.join(names)}"


def _otherwise(odd: Iterable[drift.Misfit]) -> Iterator[str]:
    """A build refuses a measure that does not fit; of another version the same column may be of another kind."""
    said: dict[str, list[str]] = {}
    for name, measure, kind in odd:
        said.setdefault(unfit(measure, kind), []).append(name or "the score")
    yield from (f"by the usual measure, since {why}: {listing(names, 3)}" for why, names in said.items())


def _apart(window: Window, redacted: Collection[str], *, looked: bool) -> Iterator[str]:
    """What the columns show together cannot be told of some of them alone."""
    asked, related = window.config.monitor.drift, window.baseline["joint"] or {"numbers": (), "categories": ()}
    watched = window.signature.names if asked.columns is None else asked.columns
    left = [name for name in (*related["numbers"], *related["categories"]) if name not in (*watched, *redacted)]
    if looked and left and asked.multivariate.enabled:
        yield f"the columns together are not judged without {listing(left, 3)}"


def _notes(window: Window, redacted: list[str], lacking: list[str], *, looked: bool) -> Iterator[str]:
    """What was not judged, and why."""
    if redacted:
        yield f"not judged, since the capture does not keep {'it' if len(redacted) == 1 else 'them'}: {', '.join(redacted)}"
    if lacking:
        yield f"no segments by {', '.join(lacking)}, which the hold-out or the capture lacks"
    if looked and window.left_out:
        rarer = ", ".join(f"{count:,} rarer values of {column}" for column, count in window.left_out.items())
        yield f"not looked at by themselves: {rarer}"


def as_captured(asked: Drift, config: Config, signature: Signature, there: Collection[str] | None = None) -> tuple[Drift, list[str]]:
    """What of the drift's settings can be judged of captured rows, and the watched columns that are redacted now, or were then, when the
    table had only the columns `there`."""
    wanted = drift.watched(asked, signature)
    absent = {name for name in signature.names if there is not None and tables.feature(name) not in there}
    redacted = config.deploy.capture.redacted | absent
    lacking = [name for name in wanted if name in redacted]
    kept = tuple(name for name in wanted if name not in redacted)
    return (asked.model_copy(update={"columns": kept}) if lacking else asked), lacking
