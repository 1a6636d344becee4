"""Commands on rows: predictions and labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, VERSION, show
from modelyard.cli.owner import asking
from modelyard.errors import BadInput

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
    appears whole or not at all. Called again after it was cut short, it does what is left.
    """
    with asking() as caller:
        words = {"source": str(source.resolve()), "target": str(target.resolve()), **how}
        answer = caller.call("batch", model=version[0], version=version[1], **words)
    if show(answer, as_json):
        return
    files = f" in {answer['files']:,} files ({answer['kept']:,} done before)" if source.is_dir() else ""
    refused = f", {answer['refused']:,} refused (see *.errors.jsonl)" if answer["refused"] else ""
    click.echo(
        f"{click.style('✓', fg='green')} {answer['rows']:,} rows{files} by {answer['model']}:{answer['version']} -> {target}{refused}"
    )
    if answer["skipped"]:
        click.echo(f"  left out, since their endings say no format: {', '.join(answer['skipped'][:10])}")
