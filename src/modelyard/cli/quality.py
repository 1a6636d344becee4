"""`modelyard constraints`: what a version's columns must hold, and what breaks it; SageMaker Model Monitor's three files, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, VERSION, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import colour, plain, table
from modelyard.clock import to_minute
from modelyard.errors import BadInput, GateRefused, NotFound

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@VERSION
@click.option("-o", "--output", metavar="FILE", type=FILE, help="Write the constraints as a constraints.json.")
@click.option("--statistics", metavar="FILE", type=FILE, help="Write a statistics.json: of the training data, or of the --window.")
@click.option("--window", metavar="START", help="Hold the window that begins at START (or holds it) against the constraints.")
@click.option("--judge", metavar="FILE", type=FILE, help="Hold a statistics.json, ours or SageMaker's, against the constraints.")
@click.option("--violations", metavar="FILE", type=FILE, help="With --window or --judge: write a constraint_violations.json.")
@click.option("--against", metavar="FILE", type=FILE, help="With --window or --judge: say where a constraint_violations.json differs.")
@JSON
def constraints(version: tuple[str, str | None], as_json: bool, **files: Any) -> int:
    """Show what the columns of MODEL[:VERSION], the champion's by default, must hold in production.

    The training data suggests it, and `monitor.data_quality` in the config has the last word; edit an --output and name it there
    (`constraints: FILE`), or write single columns. The data_quality monitor holds every window against it.

    Exit code 3 when a --window, or what is to --judge, is violated.
    """
    window, judged = files["window"], files["judge"]
    held = window is not None or judged is not None
    if window is not None and judged is not None:
        raise BadInput("give --window or --judge, not both")
    if not held and (files["violations"] or files["against"]):
        raise BadInput("--violations and --against are about a window or a statistics.json", next="give --window START or --judge FILE")
    if judged is not None and files["statistics"]:
        raise BadInput("--judge has its statistics already")
    other = _violations(files["against"]) if files["against"] else None
    with asking() as caller:
        answer = caller.call(
            "constraints", model=version[0], version=version[1], window=window, judge=str(judged.resolve()) if judged else None
        )
        rules = caller.call("constraints", model=version[0], version=version[1]) if held and files["output"] else answer
    told = [
        _write(path, document)
        for path, document in (
            (files["output"], rules.get("constraints")),
            (files["statistics"], answer.get("statistics")),
            (files["violations"], answer.get("constraint_violations")),
        )
        if path is not None
    ]
    answer |= {"against": _compared(answer["violations"], other)} if other is not None else {}
    code = GateRefused.exit_code if held and answer["verdict"]["status"] == "violated" else 0
    if show(answer, as_json):
        return code
    click.echo("\n".join(_broken(answer) if held else _held(answer)))
    for line in told:
        click.echo(line)
    return code


def _write(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return f"{click.style('✓', fg='green')} {path}"


def _violations(path: Path) -> list[dict[str, Any]]:
    from modelyard.monitor.quality import sagemaker

    try:
        found = sagemaker.read_violations(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {path}") from exc
    except ValueError as exc:
        raise BadInput(f"this is not JSON: {str(exc)[:200]}", where=path.name) from exc
    except BadInput as exc:
        raise BadInput(exc.what, where=path.name) from exc
    return [vars(one) for one in found]


def _compared(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """{"both", "ours", "theirs"}: `FEATURE CHECK` of each."""
    here, there = ({f"{v['feature_name']} {v['constraint_check_type']}" for v in side} for side in (ours, theirs))
    return {"both": sorted(here & there), "ours": sorted(here - there), "theirs": sorted(there - here)}


def _held(answer: dict[str, Any]) -> list[str]:
    rows = [[plain(c["name"]), c.get("type", "-"), *_said(c)] for c in answer["columns"]]
    head = click.style(f"{answer['model']}:{answer['version']}", bold=True)
    lines = [f"{head}  {100 * answer['tolerance']:.4g}% of a column's rows may break its type, range or domain, unless it says otherwise"]
    lines.append(table(rows, ["COLUMN", "TYPE", "COMPLETE", "VALUES", "HOLD FOR AT LEAST", "WRITTEN IN THE CONFIG"]))
    if answer["unjudged"]:
        lines.append(f"not judged, since the capture does not keep them: {', '.join(map(plain, answer['unjudged']))}")
    return lines


def _said(column: dict[str, Any]) -> list[str]:
    complete = f">= {100 * column['completeness']:.4g}%" if "completeness" in column else "-"
    values = []
    if "min" in column or "max" in column:
        low, high = (f"{column[bound]:.6g}" if bound in column else "" for bound in ("min", "max"))
        values.append(f"{low}..{high}")
    elif column.get("non_negative"):
        values.append("0..")
    if categories := column.get("categories"):
        shown = ", ".join(plain(str(c)) for c in categories[:4])
        values.append(shown + (f" and {len(categories) - 4} more" if len(categories) > 4 else ""))
    values += [f"distance <= {column['distance']:.4g}"] if "distance" in column else []
    held = [(key.removesuffix("_match"), column[key]) for key in ("type_match", "range_match", "domain_match") if key in column]
    matches = ", ".join(f"{what} {100 * share:.4g}%" for what, share in held)
    return [complete, " ".join(values) or "-", matches or "-", ", ".join(column["written"]) or "-"]


def _broken(answer: dict[str, Any]) -> list[str]:
    where = " .. ".join(map(to_minute, answer["window"])) if "window" in answer else answer["statistics_file"]
    head = click.style(f"{answer['model']}:{answer['version']}", bold=True)
    lines = [f"{head}  {where}  {answer['rows']:,} rows  {colour(answer['verdict']['status'])}"]
    if not answer["violations"]:
        lines.append("every constraint holds" if answer["verdict"]["status"] == "healthy" else plain(answer["verdict"]["reason"]))
    rows = [[plain(v["feature_name"]), v["constraint_check_type"], plain(v["description"])] for v in answer["violations"]]
    lines += [table(rows, ["COLUMN", "CHECK", "WHAT IS SEEN"])] if rows else []
    for who, name in (("both", "seen by both"), ("ours", "seen here alone"), ("theirs", "seen there alone")):
        found = answer.get("against", {}).get(who, [])
        lines += [f"{name}: {', '.join(map(plain, found))}"] if found else []
    return lines
