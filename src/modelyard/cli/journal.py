"""The journal, as sentences; and whether its chain of hashes still holds."""

from __future__ import annotations

import click

from modelyard.cli.options import JSON, complete_models, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import plain


@click.command()
@click.argument("model", required=False, shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="How many entries, the newest.")
@click.option("--verify", is_flag=True, help="Compute every entry's hash anew instead; exit code 1 if the chain does not hold.")
@JSON
def journal(model: str | None, limit: int, verify: bool, as_json: bool) -> None:
    """Show the newest entries of the journal, oldest first: what happened, when, on whose word. With MODEL, that model's alone.

    An entry's hash covers the entry before it: --verify finds one that was changed, taken out, put in or cut off, of all models.
    """
    with asking() as caller:
        if verify:
            checked = caller.call("verify-journal")
            if not show(checked, as_json):
                click.echo(f"{click.style('✓', fg='green')} the chain holds: {checked['entries']:,} entries")
            return
        entries = caller.call("journal", model=model, limit=limit)
    if show(entries, as_json):
        return
    for entry in entries:
        click.echo(f"{entry['seq']:>6}  {entry['at'][:19]}  {entry['data']['model']:<20} {plain(entry['sentence'])}")
