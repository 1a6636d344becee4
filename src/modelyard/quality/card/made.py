"""What the version was made of: data, a search over hyperparameters, code and environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.quality import page, plots

Document = Mapping[str, Any]
MAX_TRIALS = 20


def data(found: Document) -> dict[str, Any] | None:
    profile, taken = found["profile"], found["data"]
    measured = found["evaluation"] or {}
    if not profile and not taken.get("digest"):
        return None
    checks = [{**c, "state": page.state_of(c)} for c in measured.get("leakage") or []]
    shown: dict[str, Any] = {"columns": [], "left_out": 0, "missing": None, "rows": "", "target": None}
    if profile:
        from modelyard.quality import profile_plots

        gaps = any(column["missing"] for column in profile["columns"])
        shown = {
            "columns": [_column(column, profile["rows"]) for column in profile["columns"]],
            "left_out": profile.get("left_out", 0),
            "missing": profile_plots.missing_plot(profile) if gaps else None,
            "rows": page.number(profile["rows"]),
            "target": profile.get("target"),
        }
    splits = [(name, page.number(count)) for name, count in (taken.get("rows") or {}).items()]
    return {**shown, "splits": splits, "captured": taken.get("captured") or 0, "dropped": taken.get("dropped") or [], "checks": checks}


def _column(column: Document, rows: int) -> dict[str, Any]:
    counts, labels = _bars(column)
    most = max(counts, default=0) or 1
    if column.get("top"):
        known = max(1, rows - column["missing"])
        several = column["top"][0][1] > 1
        summary = (
            f"all different, such as {page.text(column['top'][0][0])[:24]}"
            if not several
            else ", ".join(f"{page.text(value)[:24]} {count / known:.0%}" for value, count in column["top"][:3])
        )
    elif column.get("min") is not None:
        summary = f"{_value(column['min'])} to {_value(column['max'])}"
    else:
        summary = "no values"
    share = column["missing"] / rows if rows else 0
    return {
        "name": column["name"],
        "type": column["type"],
        "missing": f"{share:.1%}" if share else "none",
        "gaps": share > 0,
        "distinct": page.number(column["distinct"]),
        "summary": summary,
        "middle": _value((column.get("quantiles") or {}).get("0.5")),
        "bars": [round(100 * count / most, 1) for count in counts],
        "labels": labels,
    }


def _bars(column: Document) -> tuple[list[int], list[str]]:
    histogram = column.get("histogram") or {}
    if histogram.get("counts"):
        edges = [_value(edge) for edge in histogram["edges"]]
        return histogram["counts"], [f"{a} to {b}: {c:,}" for a, b, c in zip(edges, edges[1:], histogram["counts"], strict=False)]
    top = (column.get("top") or [])[:16]
    return [count for _, count in top], [f"{page.text(value)[:40]}: {count:,}" for value, count in top]


def _value(value: Any) -> str:
    return page.number(value) if isinstance(value, int | float) else page.text(value)[:19].replace("T", " ")


def tuning(found: Document) -> dict[str, Any] | None:
    search = found["tuning"]
    if not search or not search["trials"]:
        return None
    sign = -1 if search["direction"] in ("maximize", "max") else 1
    ranked = sorted((t for t in search["trials"] if page.finite(t["value"]) and t["state"] == "complete"), key=lambda t: sign * t["value"])
    names = list(dict.fromkeys(name for t in ranked[:MAX_TRIALS] for name in t["params"]))[:8]
    states = [t["state"] for t in search["trials"]]
    return {
        "metric": search["metric"],
        "direction": "higher is better" if sign < 0 else "lower is better",
        "counts": ", ".join(
            f"{states.count(s)} {word}"
            for s, word in (("complete", "came to their end"), ("pruned", "were pruned"), ("failed", "failed"))
            if s in states
        ),
        "how": [(key, str(search[key])) for key in ("sampler", "pruner", "seed", "parallel") if search.get(key) is not None],
        "names": names,
        "rows": [
            {
                "number": t["number"],
                "best": t["number"] == search["best"],
                "value": page.measure(t["value"]),
                "seconds": page.seconds(t.get("seconds")),
                "params": [_value(t["params"].get(name)) for name in names],
            }
            for t in ranked[:MAX_TRIALS]
        ],
        "left_out": max(0, len(search["trials"]) + search.get("left_out", 0) - min(len(ranked), MAX_TRIALS)),
        "plots": plots.search(search),
    }


def lineage(found: Document) -> dict[str, Any] | None:
    made, taken, today = found["lineage"], found["data"], found["today"]
    digests = {
        "Bundle": today["bundle"] if today else None,
        "Run": found["run"],
        "Data": taken.get("digest"),
        "Source rows": taken.get("source"),
        "Code": made.get("code"),
        "Commit": made.get("commit"),
        "Environment": made.get("environment"),
        "Config": made.get("config"),
        "Recipe": made.get("recipe"),
        "Entry point": made.get("entry_point"),
    }
    steps = [
        {"step": s["step"], "seconds": page.seconds(s["seconds"]), "summary": s["summary"], "kept": s["kept"]}
        for s in made.get("steps") or []
    ]
    return {
        "digests": [(name, value) for name, value in digests.items() if value],
        "dirty": bool(made.get("commit") and made.get("dirty")),
        "hyperparameters": page.flat(made.get("hyperparameters") or {}),
        "packages": made.get("packages") or [],
        "steps": steps,
    }
