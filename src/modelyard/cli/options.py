"""Options and arguments that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
PORT = click.option(
    "--port",
    type=click.IntRange(-1, 65535),
    metavar="PORT",
    default=-1,
    show_default="8640, or any that is free where that is taken",
    help="Loopback port of the console; 0 picks any.",
)
CONFIG = click.argument("config", metavar="[CONFIG]", default="config.yaml", type=click.Path(path_type=Path))


class VersionOfModel(click.ParamType[tuple[str, str | None]]):
    """MODEL or MODEL:VERSION."""

    name = "MODEL[:VERSION]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str | None]:
        if isinstance(value, tuple):
            return value
        model, colon, version = str(value).partition(":")
        if not model or (colon and not version):
            self.fail(f"'{value}' is not MODEL or MODEL:VERSION", param, ctx)
        return model, version or None


MODEL = click.argument("model", shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
VERSION = click.argument(
    "version",
    metavar="MODEL[:VERSION]",
    type=VersionOfModel(),
    shell_complete=lambda ctx, param, incomplete: complete_models(incomplete),
)


def complete_models(incomplete: str) -> list[str]:
    """Names of the home's models; nothing when they cannot be had at once."""
    from modelyard.cli.owner import asking
    from modelyard.errors import YardError

    try:
        with asking() as caller:
            return [m["model"] for m in caller.call("status") if m["model"].startswith(incomplete)]
    except (YardError, OSError):
        return []


def show(answer: Any, as_json: bool) -> bool:
    """Print the answer as JSON where that is asked for; whether it was."""
    if as_json:
        click.echo(json.dumps(answer, default=str))
    return as_json
