"""Commands about who may call an endpoint."""

from __future__ import annotations

import click

from modelyard.cli.options import JSON, MODEL, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import plain, table

STAGE = click.option(
    "--stage", type=click.Choice(["staging", "production"]), default="production", show_default=True, help="The stage whose endpoint it is."
)


@click.group()
def keys() -> None:
    """Create, list and revoke the API keys of an endpoint that asks for them (`environments.STAGE.keys: true`)."""


@keys.command()
@MODEL
@click.argument("name")
@STAGE
@JSON
def create(model: str, name: str, stage: str, as_json: bool) -> None:
    """Create a key called NAME for MODEL's endpoint. It is shown this once, and counts at once."""
    with asking() as caller:
        answer = caller.call("keys-create", model=model, stage=stage, name=name)
    if show(answer, as_json):
        return
    click.echo(answer["key"])
    click.echo(
        f"keep it: only its hash stays here. Callers send it as `Authorization: Bearer KEY` or `X-Api-Key: KEY` to {stage}", err=True
    )


@keys.command("list")
@MODEL
@STAGE
@JSON
def list_(model: str, stage: str, as_json: bool) -> None:
    """Show who has a key to MODEL's endpoint."""
    with asking() as caller:
        answer = caller.call("keys-list", model=model, stage=stage)
    if not show(answer, as_json):
        rows = [[plain(k["name"]), plain(k["by"]), k["created_at"][:16].replace("T", " ")] for k in answer]
        click.echo(table(rows, ["NAME", "CREATED BY", "AT (UTC)"]) if answer else f"nobody has a key to the {stage} endpoint of {model}")


@keys.command()
@MODEL
@click.argument("name")
@STAGE
@JSON
def revoke(model: str, name: str, stage: str, as_json: bool) -> None:
    """Let the key NAME in no more, from now on."""
    with asking() as caller:
        answer = caller.call("keys-revoke", model=model, stage=stage, name=name)
    if not show(answer, as_json):
        click.echo(f"{click.style('✓', fg='green')} `{name}` is let in no more to {model} {stage}")
