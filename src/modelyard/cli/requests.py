"""`modelyard request-labels`: the predictions whose labels teach the most, as a file for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import plain


@click.command(name="request-labels")
@MODEL
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where to write.")
@click.option("--count", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Predictions to ask about.")
@click.option("--format", type=click.Choice(["label-studio", "csv"]), help="By default by FILE's ending: csv, else Label Studio's tasks.")
@click.option("--since", metavar="TIME", help="Only about predictions since then: an instant, or a span back from now such as 7d.")
@click.option("--window", metavar="START", help="Only about the window that begins at START (or holds it).")
@click.option("--by-chance", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share that is drawn evenly from all.")
@click.option("--blind", is_flag=True, help="Do not show the model's own answers.")
@click.option("--again", is_flag=True, help="Ask also about what was asked about before.")
@JSON
def request_labels(model: str, output: Path, as_json: bool, **how: Any) -> None:
    """Choose the unlabelled predictions of MODEL whose labels teach the most, and write them to FILE for people to label.

    These are the ones that the model is unsure of, and those from where the data has drifted, no two of them nearly the same, and some by
    chance. FILE is imported into a Label Studio project with the interface that is written beside it as .xml; or it is a csv with an
    empty target column to fill in. What comes back goes in with `modelyard labels`.
    """
    how["format"] = how["format"] or ("csv" if output.suffix.lower() == ".csv" else "label-studio")
    with asking() as caller:
        answer = caller.call("request-labels", model=model, target=str(output.resolve()), **how)
    if show(answer, as_json):
        return
    before = f", {answer['asked_before']:,} more were asked about before" if answer["asked_before"] else ""
    click.echo(f"{click.style('✓', fg='green')} {answer['asked']:,} of {answer['unlabelled']:,} unlabelled predictions -> {output}{before}")
    for row in answer["first"]:
        click.secho(f"  {plain(row['inference_id'])}  {plain(row['reason'])}", dim=True)
    if answer["interface"]:
        click.echo(f"  interface    {answer['interface']} (Label Studio: Settings, Labeling Interface, Code)")
    filled = output if how["format"] == "csv" else "EXPORT   (the project's, as JSON, JSON_MIN or CSV)"
    click.echo(f"  next: fill it in, and modelyard labels {model} {filled}")
