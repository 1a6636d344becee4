"""What the page of a window shows, made ready from its document as plain values and pictures; the template escapes what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from modelyard.quality import page
from modelyard.quality.metrics import METRICS
from modelyard.quality.svg import Plot
from modelyard.quality.window import STATES, evidence, plots
from modelyard.quality.window.course import glimpse, speaks, windows, worst
from modelyard.quality.window.features import features, prediction, segments
from modelyard.quality.window.spans import span_of, zone_of

MAX_HISTORY, MAX_TITLES = 12, 220
TITLES = {
    "data_quality": "Data quality", "drift": "Drift", "performance": "Performance", "estimate": "Estimated performance", "bias": "Bias",
    "attribution": "Attribution",
}  # fmt: skip
LINEAGE = (
    ("bundle", "Bundle"), ("data", "Data"), ("code", "Code"), ("environment", "Environment"), ("config", "Config"), ("commit", "Commit"),
    ("registered_at", "Registered"), ("because", "Because"),
)  # fmt: skip
DRAWN = {"drift": ("columns", "prediction"), "performance": ("metrics", "intervals", "estimated"), "estimate": ("metrics", "estimated")}
"""Evidence that chapters of their own show."""


def view(found: Mapping[str, Any]) -> dict[str, Any]:
    """All that the template shows of a document of schema `modelyard.window/1`."""
    zone = zone_of(found["span"]["timezone"])
    chapters = {
        "monitors": monitors(found, zone),
        "performance": performance(found, zone),
        "prediction": prediction(found),
        "features": features(found),
        "segments": segments(found),
        "thresholds": page.flat(found["config"])[:MAX_TITLES],
        "lineage": [(title, page.text(found["lineage"][key])) for key, title in LINEAGE if found["lineage"].get(key)],
    }
    titles = {
        "monitors": "Monitors", "performance": "Performance", "prediction": "Predictions", "features": "Features", "segments": "Segments",
        "thresholds": "Thresholds", "lineage": "Lineage",
    }  # fmt: skip
    contents = [(name, title) for name, title in titles.items() if chapters[name]]
    return {**chapters, "head": head(found, zone), "contents": contents}


def head(found: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    span, rows, model = found["span"], found["rows"], found["model"]
    tiles = [("Windows judged", f"{span['windows']:,}")]
    if rows:
        tiles += [("Rows compared", f"{rows['window']:,}"), ("Rows of the baseline", f"{rows['baseline']:,}")]
        tiles.append(("Columns that moved", f"{sum(c['moved'] for c in found['columns'])} of {len(found['columns'])}"))
    labels = _labels(found["words"])
    tiles += [("Labels", labels)] if labels else []
    versions = ", ".join(f"version {v}" for v in found["versions"]) or (f"version {found['version']}" if found["version"] else "no version")
    return {
        "title": f"{model['name']} {span_of(span['start'], span['end'], zone)}",
        "name": model["name"],
        "problem": str(model.get("problem_type") or "").replace("_", " "),
        "span": span_of(span["start"], span["end"], zone),
        "zone": str(zone),
        "versions": versions,
        "verdict": found["verdict"],
        "chips": [(STATES.get(said, "none"), _name(kind), said) for kind, said in sorted(_worst(found["tally"]).items(), key=_order)],
        "tiles": tiles,
        "missing": found["missing"],
        "made": page.moment(found["made_at"]) if found["made_at"] else "",
    }


def monitors(found: Mapping[str, Any], zone: ZoneInfo) -> list[dict[str, Any]]:
    """A chapter a monitor: its newest word, what it said before of that window, and its words on all other windows of the span."""
    ready = []
    for kind, _ in sorted(found["tally"].items(), key=_order):
        words = [word for word in found["words"] if word["monitor"] == kind]
        newest, tally = words[0], found["tally"][kind]
        total = sum(tally.values())
        history = [
            {
                "at": page.moment(w["judged_at"]),
                "state": STATES.get(w["status"], "none"),
                "status": w["status"],
                "reason": _reason({**w, "monitor": kind}),
            }
            for w in (newest.get("history") or [])[:-1]
        ]
        ready.append(
            {
                "id": f"monitor-{kind}",
                "title": _name(kind),
                "state": STATES.get(newest["status"], "none"),
                "status": newest["status"],
                "reason": _reason(newest),
                "about": _about(newest, zone),
                "history": history[-MAX_HISTORY:][::-1],
                "tally": ", ".join(f"{n:,} {status}" for status, n in tally.items() if n) if total > 1 else "",
                "words": [_word(word, zone) for word in words] if total > 1 else [],
                "left_out": total - len(words),
                "plots": _pictures(kind, newest["evidence"] or {}, found["columns"]),
                "tables": evidence.tables(newest["evidence"] or {}, DRAWN.get(kind, ())),
            }
        )
    return ready


def _pictures(kind: str, told: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """What a monitor's word is drawn as, where no chapter of its own does so."""
    found: list[Plot | None] = []
    if kind == "data_quality":
        found.append(plots.missing(columns))
    elif kind == "attribution" and isinstance(told.get("importance"), Mapping):
        found.append(plots.attribution(told["importance"]))
    elif kind == "bias":
        found.append(plots.bias(told.get("moved") or [], told.get("measures") or []))
    return [plot for plot in found if plot is not None]


def _reason(word: Mapping[str, Any]) -> str:
    """Without the monitor's name, which stands above it."""
    return str(word["reason"]).removeprefix(f"{word['monitor']}: ")


def _about(word: Mapping[str, Any], zone: ZoneInfo) -> str:
    again = f", revision {word['revision']}" if word["revision"] > 1 else ""
    return f"{span_of(word['start'], word['end'], zone)}, version {word['version'] or '—'}, judged {page.moment(word['judged_at'])}{again}"


def _word(word: Mapping[str, Any], zone: ZoneInfo) -> dict[str, str]:
    state = STATES.get(word["status"], "none")
    window = span_of(word["start"], word["end"], zone)
    return {
        "window": window,
        "version": word["version"],
        "state": state,
        "status": word["status"],
        "reason": page.text(_reason(word), 240),
    }


def performance(found: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any] | None:
    """Metrics of the newest window with their intervals, and over the windows of the span, beside what was estimated."""
    words = found["words"]
    names = evidence.measured(words)
    if not names:
        return None
    facts = windows(glimpse(word) for word in words if word["monitor"] in evidence.MEASURED)
    guessed = [fact for fact in facts if speaks(fact)] or facts  # a window without traffic has not even an estimate
    known = [fact for fact in facts if speaks(fact, "value")] or guessed
    newest, last = known[-1], guessed[-1]
    rows = [{"name": name, "title": _metric(name), "value": None, **newest["metrics"].get(name, {})} for name in names]
    shown = [_measured(row, last["metrics"].get(row["name"], {})) for row in rows]
    courses = found["course"]["metrics"]
    drawn = [plots.over_time(_metric(name), points, zone, f"over-{i}") for i, (name, points) in enumerate(courses.items())]
    return {
        "rows": [row for row in shown if row["value"] != "—" or row["estimated"] != "—" or row["latest"] != "—"],
        "plots": [plot for plot in (plots.metrics(rows), *drawn, _versions(words, names[0])) if plot is not None],
        "estimates": any(r["estimated"] != "—" for r in shown),
        "holdouts": any(r["holdout"] != "—" for r in shown),
        "window": span_of(newest["start"], newest["end"], zone),
        "latest": span_of(last["start"], last["end"], zone) if last is not newest and any(r["latest"] != "—" for r in shown) else "",
    }


def _versions(words: Sequence[Mapping[str, Any]], metric: str) -> Plot | None:
    """The first metric of each version that answered part of the newest window on which labels came for more than one."""
    for word in words:
        told = word["evidence"] or {}
        others = told.get("versions") if word["monitor"] == "performance" else None
        if isinstance(others, Mapping) and others:
            whole = evidence.value(told, metric)
            rows = [{"name": f"version {word['version']}", **whole}]
            for name, numbers in others.items():
                low_high = numbers.get(metric) if isinstance(numbers, Mapping) else None
                if isinstance(low_high, list) and len(low_high) == 3:
                    rows.append({"name": f"version {name}", **dict(zip(("value", "low", "high"), low_high, strict=True))})
            return plots.parts(f"{_metric(metric)} by version", rows, None, "versions")
    return None


def _measured(row: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, str]:
    """A metric of the newest window that has labels, and what the newest of all is estimated at."""
    return {
        "title": row["title"],
        "value": page.measure(row.get("value")),
        "span": page.span(row.get("low"), row.get("high")),
        "estimated": page.measure(row.get("estimated")),
        "estimated_span": page.span(row.get("estimated_low"), row.get("estimated_high")),
        "apart": page.change(row.get("value"), row.get("estimated")),
        "holdout": page.measure(row.get("holdout")),
        "latest": page.measure(last.get("estimated")),
        "latest_span": page.span(last.get("estimated_low"), last.get("estimated_high")),
    }


def _labels(words: Sequence[Mapping[str, Any]]) -> str:
    """Labels of the rows that performance was judged by."""
    found = [w["evidence"] for w in words if w["monitor"] == "performance" and (w["evidence"] or {}).get("labels") is not None]
    if not found:
        return ""
    return f"{sum(int(e['labels']) for e in found):,} of {sum(int(e.get('rows') or 0) for e in found):,}"


def _metric(name: str) -> str:
    return METRICS[name].title if name in METRICS else page.text(name.replace("_", " "), 60)


def _order(item: tuple[str, Any]) -> int:
    known = list(TITLES)
    return known.index(item[0]) if item[0] in known else len(known)


def _name(kind: str) -> str:
    return TITLES.get(kind, page.text(kind.replace("_", " "), 40))


def _worst(tally: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    return {kind: worst(status for status, n in counts.items() if n) for kind, counts in tally.items()}
