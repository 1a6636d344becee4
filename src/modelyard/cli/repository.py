"""Commands on a model's repository; none of them opens a home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click

from modelyard.cli.options import CONFIG, JSON
from modelyard.signature import ProblemType


@click.command()
@CONFIG
@JSON
def check(config: Path, as_json: bool) -> None:
    """Check CONFIG (config.yaml by default) and everything it names, without running anything.

    Every problem is shown at once as `config.yaml:LINE:COLUMN`, with the line it stands in. Exit code 2 if there is one.
    """
    from modelyard.config import check as checks
    from modelyard.config import load
    from modelyard.errors import BadConfig
    from modelyard.quality.catalogue import GREATER_IS_BETTER, names_for

    loaded = load.load(config)
    known = names_for(loaded.config.model.problem_type, at=loaded.config.evaluate.at)
    problems = checks.check(loaded, metrics=known, greater_is_better=GREATER_IS_BETTER)
    if problems:
        raise BadConfig(problems)
    if as_json:
        click.echo(json.dumps({"ok": True, "model": loaded.config.model.name, "digest": loaded.digest}))
    else:
        click.echo(f"{click.style('✓', fg='green')} {config} holds: {loaded.config.model.name}, {loaded.config.model.problem_type}")
        click.echo(f"  next: modelyard up {config}")


@click.command()
@click.option("--json", is_flag=True, expose_value=False, help="Changes nothing: a schema is JSON.")
def schema() -> None:
    """Print the JSON Schema of config.yaml; editors complete and check by it.

    Write it to a file and name that in the config's first line: `# yaml-language-server: $schema=config.schema.json`.
    """
    from modelyard.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="The model's name; by default the folder's.")
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A csv, parquet or JSON lines file to learn from."
)
@click.option("--target", help="The column to predict; by default guessed.")
@click.option("--script", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An existing training script to adopt.")
@click.option("--problem-type", type=click.Choice(get_args(ProblemType)), help="By default read off the target.")
@JSON
def init(
    folder: Path,
    name: str | None,
    data: Path | None,
    target: str | None,
    script: Path | None,
    problem_type: str | None,
    as_json: bool,
) -> None:
    """Scaffold a model repository in DIR (here by default), or adopt a script that is there.

    Writes config.yaml, its schema, and where they are missing a train.py and a requirements.txt that work. Never overwrites.
    """
    from modelyard.config.scaffold import scaffold

    chosen = name or folder.resolve().name
    written = scaffold(folder, name=chosen, problem_type=problem_type, data=data, target=target, script=script)
    if as_json:
        click.echo(json.dumps({"written": [str(path) for path in written]}))
        return
    for path in written:
        click.echo(f"{click.style('✓', fg='green')} {path}")
    click.echo(f"  next: modelyard check {folder / 'config.yaml'}")
