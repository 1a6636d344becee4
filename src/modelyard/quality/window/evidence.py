"""What monitors keep beside their words (the book's `evidence`), as series and as tables. Monitors may say more than is known here:
whatever they say is shown, as a table at the least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelyard.quality import page
from modelyard.quality.metrics import METRICS
from modelyard.quality.window.columns import ratio

MAX_ROWS, MAX_FIELDS = 60, 14
MEASURED = ("performance", "estimate")
"""Monitors whose evidence has `metrics`, `intervals` and `estimated`."""
COUNTS = ("rows", "labels")
"""What stands among the metrics and is none."""


def value(evidence: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """One metric of a word on performance: {"value", "low", "high", "estimated", "estimated_low", "estimated_high", "holdout"}."""
    found = _number(evidence.get("metrics"), metric)
    low, high = _ends(evidence.get("intervals"), metric)
    guess, guess_low, guess_high = _estimated(evidence.get("estimated"), metric)
    criteria = [c for c in evidence.get("criteria") or () if isinstance(c, Mapping) and c.get("metric") == metric]
    holdout = _number(evidence.get("holdout"), metric)
    holdout = next((c.get("holdout") for c in criteria if page.finite(c.get("holdout"))), None) if holdout is None else holdout
    ends = {"low": low, "high": high, "estimated": guess, "estimated_low": guess_low, "estimated_high": guess_high}
    return {"value": found, **ends, "holdout": holdout}


def _number(found: Any, metric: str) -> float | None:
    number = found.get(metric) if isinstance(found, Mapping) else None
    number = number.get("value") if isinstance(number, Mapping) else number
    return float(number) if page.finite(number) and not isinstance(number, bool) else None


def _ends(found: Any, metric: str) -> tuple[float | None, float | None]:
    ends = found.get(metric) if isinstance(found, Mapping) else None
    if isinstance(ends, Mapping):
        ends = (ends.get("low"), ends.get("high"))
    if not isinstance(ends, Sequence) or len(ends) != 2:
        return None, None
    return tuple(float(end) if page.finite(end) else None for end in ends)  # type: ignore[return-value]


def _estimated(found: Any, metric: str) -> tuple[float | None, float | None, float | None]:
    """An estimate is {"value", "low", "high"} by metric, or a number, or [value, low, high]."""
    guess = found.get(metric) if isinstance(found, Mapping) else None
    if isinstance(guess, Mapping):
        guess = [guess.get("value", guess.get("estimate")), guess.get("low"), guess.get("high")]
    if page.finite(guess):
        guess = [guess, None, None]
    if not isinstance(guess, Sequence) or isinstance(guess, str) or len(guess) != 3:
        return None, None, None
    return tuple(float(v) if page.finite(v) else None for v in guess)  # type: ignore[return-value]


def measured(words: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics that words on performance speak of, those first that a criterion names, then as the catalogue orders them."""
    judged: dict[str, None] = {}
    named: dict[str, None] = {}
    for word in words:
        if word["monitor"] not in MEASURED:
            continue
        evidence = word["evidence"] or {}
        judged |= dict.fromkeys(c["metric"] for c in evidence.get("criteria") or () if isinstance(c, Mapping) and "metric" in c)
        for part in ("metrics", "estimated"):
            if isinstance(evidence.get(part), Mapping):
                named |= dict.fromkeys(evidence[part])
    order = list(METRICS)
    rest = sorted(
        (name for name in named if name not in judged and name not in COUNTS),
        key=lambda n: (order.index(n) if n in METRICS else len(order), n),
    )
    return [*judged, *rest]


def told(word: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    """One metric of a word as `value`, of whichever monitor: the numbers of the estimate are estimates."""
    found = value(word["evidence"] or {}, metric)
    if word["monitor"] == "estimate" and found["estimated"] is None:
        ends = {"estimated": found["value"], "estimated_low": found["low"], "estimated_high": found["high"]}
        return {**found, **ends, "value": None, "low": None, "high": None}
    return found


def effect(evidence: Mapping[str, Any]) -> float | None:
    """The largest effect on any column or on the score, by its threshold; None where a word on drift says nothing of the kind."""
    columns = [*(evidence.get("columns") or ()), *([evidence["prediction"]] if evidence.get("prediction") else [])]
    found = [r for column in columns if isinstance(column, Mapping) and (r := ratio(column)) is not None]
    return max(found, default=None)


def tables(evidence: Mapping[str, Any], leave: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Everything that a word keeps, as tables: {"title", "head": [...], "rows": [[text, ...]], "more": rows left out}.

    Lists of facts become a table each, facts by name a table of two columns, and all single facts the first one.
    """
    facts: list[list[str]] = []
    found: list[dict[str, Any]] = []
    for key, said in evidence.items():
        if key in leave or said in (None, [], {}, ""):
            continue
        if _is_rows(said):
            found.append(_of_rows(_title(key), said))
        elif isinstance(said, Mapping) and any(isinstance(part, Mapping) for part in said.values()):
            found.append(_of_rows(_title(key), [{"": name, **(dict(row) if isinstance(row, Mapping) else {"value": row})}
                                                for name, row in said.items()]))  # fmt: skip
        elif isinstance(said, Mapping) and any(_is_rows(part) for part in said.values()):
            found += tables({f"{key}: {name}" if _is_rows(part) else name: part for name, part in said.items()})
        elif isinstance(said, Mapping):
            rows = [[_title(name), _written(fact)] for name, fact in said.items()]
            found.append({"title": _title(key), "head": [], "rows": rows[:MAX_ROWS], "more": max(0, len(rows) - MAX_ROWS)})
        else:
            facts.append([_title(key), _written(said)])
    return ([{"title": "", "head": [], "rows": facts[:MAX_ROWS], "more": 0}] if facts else []) + found


def _is_rows(said: Any) -> bool:
    return isinstance(said, list | tuple) and bool(said) and all(isinstance(row, Mapping) for row in said)


def _of_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    head = list(dict.fromkeys(key for row in rows for key, said in row.items() if said not in (None, [], {}, "")))[:MAX_FIELDS]
    cells = [[_written(row.get(key)) for key in head] for row in rows[:MAX_ROWS]]
    return {"title": title, "head": [_title(key) for key in head], "rows": cells, "more": max(0, len(rows) - MAX_ROWS)}


def _title(key: Any) -> str:
    return page.text(str(key).replace("_", " "), 60)


def _written(said: Any) -> str:
    if isinstance(said, bool):
        return "yes" if said else "no"
    if isinstance(said, int | float):
        return page.number(said)
    if isinstance(said, list | tuple):
        shown = [_written(part) for part in said[:8]]
        return ", ".join(shown) + (f" and {len(said) - 8} more" if len(said) > 8 else "")
    if isinstance(said, Mapping):
        return ", ".join(f"{key} {_written(part)}" for key, part in list(said.items())[:8])
    return page.text(said, 160)
