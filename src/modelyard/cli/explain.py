"""`modelyard explain`: bars of what moved a prediction."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, VERSION, show
from modelyard.cli.owner import asking
from modelyard.errors import BadInput

WIDTH = 20
"""Characters of a bar on either side of the line."""
PARTS = " ▏▎▍▌▋▊▉"
SHOWN, ROWS_SHOWN = 12, 10


@click.command()
@VERSION
@click.option("--id", metavar="INFERENCE_ID", help="A row of the hold-out that the build explained.")
@click.option("--rows", metavar="FILE", type=click.Path(path_type=Path), help="New rows (csv, parquet or jsonl), explained now.")
@JSON
def explain(version: tuple[str, str | None], id: str | None, rows: Path | None, as_json: bool) -> None:
    """Say which features moved the predictions of MODEL[:VERSION], the champion by default, and how far.

    Without --id or --rows: on average over the hold-out. No endpoint is needed.
    """
    if id is not None and rows is not None:
        raise BadInput("give --id or --rows, not both")
    with asking() as caller:
        file = str(rows.resolve()) if rows else None
        answer = caller.call("explain", model=version[0], version=version[1], id=id, rows=file)
    if show(answer, as_json):
        return
    click.secho(f"{answer['model']}:{answer['version']}  {_output(answer)}", bold=True)
    click.secho(f"  {answer['method']}: {answer['why']}", dim=True)
    if "global" in answer and not answer["rows"]:
        click.echo("\n".join(importance(answer)))
    for row in answer["rows"][:ROWS_SHOWN]:
        click.echo("\n" + "\n".join(bars(row, answer)))
    if len(answer["rows"]) > ROWS_SHOWN:
        click.secho(f"\n  {len(answer['rows']) - ROWS_SHOWN:,} more rows: --json has them", dim=True)


def importance(answer: dict[str, Any]) -> list[str]:
    """A line a feature: its mean absolute attribution."""
    rows = answer["global"][:SHOWN]
    longest, wide = max(row["mean_abs"] for row in rows) or 1.0, max(len(row["feature"]) for row in rows)
    lines = [f"\n  mean |attribution| over the hold-out, {answer['output']}"]
    for row in rows:
        bar = _bar(row["mean_abs"] / longest * 2 * WIDTH)
        lines.append(f"  {row['feature']:<{wide}}  {click.style(bar, fg='blue')} {row['mean_abs']:.4g}")
    return lines


def bars(row: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    """A line a feature, bars to the right where it raised the output and to the left where it lowered it; from the base to the total."""
    parts, rest = row["attributions"][:SHOWN], row["attributions"][SHOWN:]
    longest = max((abs(part["attribution"]) for part in parts), default=0.0) or 1.0
    named = [(f"{part['feature']} = {_text(part['value'])}", part["attribution"]) for part in parts]
    if rest:
        named.append((f"{len(rest)} other{'s' if len(rest) > 1 else ''}", sum(part["attribution"] for part in rest)))
    wide = max(len(name) for name, _ in named)
    inside = "" if answer["output"] in ("probability", answer["of"]) else f"{answer['output']} {row['total']:.4g}, "
    head = f"{_output(answer)}: {row['answer']:.4g}  ({inside}on average {answer['base_value']:.4g})"
    lines = [f"  {click.style(row['inference_id'], bold=True)}  {head}"]
    for name, value in named:
        share = min(1.0, abs(value) / longest)
        left = "█" * round(share * WIDTH) if value < 0 else ""
        right = _bar(share * WIDTH) if value >= 0 else ""
        drawn = f"{click.style(f'{left:>{WIDTH}}', fg='blue')}│{click.style(f'{right:<{WIDTH}}', fg='yellow')}"
        lines.append(f"  {name:<{wide}}  {drawn} {value:+.4g}")
    return lines


def _output(answer: dict[str, Any]) -> str:
    return re.sub("^probability_", "probability of ", str(answer["of"]))


def _bar(length: float) -> str:
    whole = int(length)
    return ("█" * whole + PARTS[int((length - whole) * 8)]).rstrip()


def _text(value: Any) -> str:
    text = "missing" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"
