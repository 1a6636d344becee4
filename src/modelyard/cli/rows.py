"""Commands on rows: predictions and labels."""

from __future__ import annotations

import sys
import threading
import uuid
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, VERSION, show
from modelyard.cli.owner import asking, until_stopped
from modelyard.control.client import Caller
from modelyard.errors import BadInput

LOOK = 0.1
"""Seconds between two looks at whether a signal came."""
TYPES = {".json": "application/json", ".csv": "text/csv"}


@click.command()
@MODEL
@click.argument("file", metavar="FILE|-", type=click.Path(allow_dash=True))
@click.option("--content-type", help="By default by the file's ending; application/json for `-`.")
@JSON
def predict(model: str, file: str, content_type: str | None, as_json: bool) -> None:
    """Ask MODEL's production endpoint about the rows of FILE (JSON or CSV), or of standard input."""
    if file != "-" and not Path(file).is_file():
        raise BadInput(f"there is no file {file}")
    body = _text(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes(), file)
    kind = content_type or ("application/json" if file == "-" else TYPES.get(Path(file).suffix, ""))
    if not kind:
        raise BadInput(f"{file} has no ending that says its format", next="name it *.json or *.csv, or give --content-type")
    with asking() as caller:
        answer = caller.call("predict", model=model, body=body, content_type=kind)
    if show(answer, as_json):
        return
    click.secho(f"{answer['model']}:{answer['version']}", bold=True)
    for row in answer["predictions"]:
        shares = "  ".join(f"{name} {p:.4f}" for name, p in row.get("probabilities", {}).items())
        shares = shares or (f"score {row['score']:.4f}" if "score" in row else "")
        click.echo(f"  {row['inference_id']}  {row['prediction']}  {click.style(shares, dim=True)}")


def _text(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadInput(f"this is not UTF-8 text: {exc.reason} at byte {exc.start}", where=file) from exc


@click.command()
@VERSION
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUTPUT", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that predict; by default about as many as there are cores.")
@click.option(
    "--join", is_flag=True, help="Write the input's columns too; of JSON lines, the record with the answer under SageMakerOutput."
)
@click.option("--input-filter", metavar="PATH", default="$", help="The part of a record that the model is given, such as $[1:].")
@click.option("--output-filter", metavar="PATH", default="$", help="The part that is written, such as $['id', 'prediction'].")
@click.option("--format", type=click.Choice(["csv", "jsonl", "parquet"]), help="Of the outputs; by default as the inputs are.")
@click.option("--suffix", default="", help="Added to each file's name, such as .out.")
@click.option("--max-errors", type=click.IntRange(0), default=0, help="Rows that may be refused; they are listed in OUTPUT.errors.jsonl.")
@JSON
def batch(
    version: tuple[str, str | None],
    source: Path,
    target: Path,
    as_json: bool,
    **how: Any,
) -> None:
    """Predict every row of INPUT into OUTPUT with MODEL[:VERSION], the champion by default. No endpoint is needed.

    INPUT is a file (csv, parquet or jsonl by its ending), or a folder of such, whose files go one for one into the folder OUTPUT. A file
    appears whole or not at all. Called again after it was cut short, it does what is left. Ctrl-C ends the job, wherever it is at work.
    """
    words = {"model": version[0], "version": version[1], "source": str(source.resolve()), "target": str(target.resolve()), **how}
    with asking() as caller:
        answer = _predicted(caller, words)
    if show(answer, as_json):
        return
    files = f" in {answer['files']:,} files ({answer['kept']:,} done before)" if source.is_dir() else ""
    refused = f", {answer['refused']:,} refused (see *.errors.jsonl)" if answer["refused"] else ""
    click.echo(
        f"{click.style('✓', fg='green')} {answer['rows']:,} rows{files} by {answer['model']}:{answer['version']} -> {target}{refused}"
    )
    if answer["skipped"]:
        click.echo(f"  left out, since their endings say no format: {', '.join(answer['skipped'][:10])}")


def _predicted(caller: Caller, words: dict[str, Any]) -> Any:
    """What came of a batch. A signal ends it with its owner, whoever that is; a second one ends the command at once.

    The call goes on in another thread, since the main one must be there for signals.
    """
    id, answer = uuid.uuid4().hex, Future[Any]()

    def ask() -> None:
        try:
            answer.set_result(caller.call("batch", id=id, **words))
        except BaseException as exc:
            answer.set_exception(exc)

    with until_stopped() as stop:
        threading.Thread(target=ask, name="batch", daemon=True).start()
        while not answer.done() and not stop.is_set():
            wait([answer], LOOK)
        if not answer.done():
            click.echo("stopping the batch; Ctrl-C again leaves at once", err=True)
        told = False
        while not answer.done():
            told = told or caller.call("stop-batch", id=id)["stopped"]  # until its owner has begun with it there is none
            wait([answer], LOOK)
    return answer.result()
