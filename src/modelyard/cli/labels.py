"""The command on labels: take them in, and show how much is labelled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import table
from modelyard.clock import to_minute
from modelyard.control.client import Caller
from modelyard.errors import BadInput, YardError

SENT = {"csv": "text/csv", "json": "application/json", "jsonl": "application/x-ndjson"}


@click.command()
@MODEL
@click.argument("file", metavar="[FILE|-]", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--format", "kind", type=click.Choice(list(SENT)), help="Of standard input.  [default: csv]")
@click.option("--coverage", is_flag=True, help="Show how much of each window is labelled.")
@click.option("--since", metavar="TIME", default="", help="With --coverage: only windows after TIME, such as 2026-11-24 or 7d ago: 7d.")
@click.option("--until", metavar="TIME", default="", help="With --coverage: only windows before TIME; both in the model's time zone.")
@JSON
def labels(model: str, file: Path | None, kind: str | None, coverage: bool, since: str, until: str, as_json: bool) -> None:
    """Take in the truth about MODEL's past predictions from FILE (csv, parquet, json or jsonl), or from standard input.

    It has the config's id and target columns, or `inference_id` and `label`; optionally `labelled_at`. With `labels: {join: entity}` the
    entity's and the time column stand in place of the id. Or it is SageMaker's ground truth: a file of it, or a folder. Late, repeated and
    corrected labels are welcome, also before their prediction: nothing is lost or counted twice.
    """
    if coverage == (file is not None) or ((since or until) and not coverage) or (kind and str(file) != "-"):
        raise click.UsageError("give FILE (or -, with --format), or --coverage (with --since and --until)")
    with asking() as caller:
        if file is None:
            answer = caller.call("label-coverage", model=model, since=since, until=until)
        elif str(file) == "-":
            answer = _sent(caller, model, SENT[kind or "csv"])
        else:
            answer = caller.call("labels", model=model, file=str(file.resolve()))
    if show(answer, as_json):
        return
    if file is None:
        _covered(answer)
    else:
        _taken(answer, model)


def _sent(caller: Caller, model: str, content_type: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = caller.call("take-labels", model=model, body=_typed_in(), content_type=content_type)
    except YardError as exc:
        exc.where = exc.where.replace("the body", "standard input")
        raise
    return answer


def _typed_in() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadInput("standard input is not text in UTF-8", next="write it to a file: modelyard labels MODEL FILE.parquet") from exc


def _taken(answer: dict[str, Any], model: str) -> None:
    said = f"{answer['new']:,} new, {answer['corrected']:,} corrected, {answer['repeated']:,} repeated"
    if answer["waiting"]:
        said += f"; {answer['matched']:,} match a captured prediction, {answer['waiting']:,} wait for theirs"
    blank = f", {answer['blank']:,} rows without a label left out" if answer["blank"] else ""
    click.echo(f"{click.style('✓', fg='green')} {said}{blank}\n  next: modelyard monitor {model} --now")


def _covered(answer: dict[str, Any]) -> None:
    if not answer["windows"]:
        click.echo("nothing was captured then")
        return
    rows = [
        [
            f"{to_minute(w['start'])} .. {to_minute(w['end'])}",
            f"{w['rows']:,}",
            f"{w['labels']:,}",
            _share(w["coverage"]),
            _at(w, "first_label"),
            _at(w, "last_label"),
        ]
        for w in answer["windows"]
    ]
    click.echo(table(rows, ["WINDOW (UTC)", "ROWS", "LABELLED", "COVERAGE", "FIRST LABEL", "LAST LABEL"]))
    until = answer["watermark"]
    click.echo(
        f"usual coverage {_share(answer['usual'])}; " + (f"complete until {to_minute(until)}" if until else "complete for no window yet")
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _at(window: dict[str, Any], which: str) -> str:
    return window[which][:16] if window[which] else "-"
