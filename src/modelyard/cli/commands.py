"""The commands: argv -> yard. Thin; each asks a verb of `modelyard.control.verbs` and shows the answer.

Exit codes: 0 done, 1 failed, 2 bad input or config, 3 a gate said no, 4 waiting for approval.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import sys
import threading
from typing import Any, NoReturn

import click

from modelyard import __version__
from modelyard.errors import YardError

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("modelyard.cli.repository", "Scaffold a model repository, or adopt an existing script."),
    "check": ("modelyard.cli.repository", "Check a config without running anything."),
    "schema": ("modelyard.cli.repository", "Print the JSON Schema of config.yaml."),
    "plan": ("modelyard.cli.pipeline", "Show what a config would change against what runs."),
    "up": ("modelyard.cli.pipeline", "Build, release, serve and watch a model: the whole loop."),
    "build": ("modelyard.cli.pipeline", "Run the build pipeline only, for continuous integration."),
    "deploy": ("modelyard.cli.pipeline", "Release a version through its stages."),
    "approve": ("modelyard.cli.pipeline", "Let a waiting version into its stage."),
    "reject": ("modelyard.cli.pipeline", "Keep a waiting version out of its stage."),
    "rollback": ("modelyard.cli.pipeline", "Give production back to the version before."),
    "rollout": ("modelyard.cli.rollout", "Show a roll-out and its alarms, take it back, or end an A/B test."),
    "compare": ("modelyard.cli.rollout", "Ask two versions the newest captured requests."),
    "retrain": ("modelyard.cli.pipeline", "Build a challenger on what is known now."),
    "reproduce": ("modelyard.cli.pipeline", "Build a version again and compare."),
    "status": ("modelyard.cli.watching", "Show models, versions, stages, verdicts and what waits."),
    "logs": ("modelyard.cli.watching", "Show what happened in a run, or in a model's newest run."),
    "monitor": ("modelyard.cli.watching", "Show a model's verdicts; with --now, judge what is due."),
    "who-served": ("modelyard.cli.watching", "Say which version answered, made of what, on whose word."),
    "journal": ("modelyard.cli.journal", "Show what happened, entry by entry, or check that nobody changed it."),
    "keys": ("modelyard.cli.keys", "Create, list and revoke the API keys of an endpoint."),
    "predict": ("modelyard.cli.rows", "Ask a model's production endpoint."),
    "batch": ("modelyard.cli.rows", "Predict a file of rows into a file."),
    "explain": ("modelyard.cli.explain", "Say which features moved a version's predictions, and how far."),
    "constraints": ("modelyard.cli.quality", "Show what columns must hold in production, and what breaks it."),
    "report": ("modelyard.cli.report", "Show a version's model card, or write it as a page."),
    "request-labels": ("modelyard.cli.requests", "Choose the predictions whose labels teach the most."),
    "labels": ("modelyard.cli.labels", "Take in the truth about past predictions."),
    "data": ("modelyard.cli.data", "Look at data and its versions."),
    "replay": ("modelyard.cli.replay", "Play past traffic through the whole loop on its own clock."),
    "server": ("modelyard.cli.owner", "Run the control plane: API, console, schedules, endpoints."),
    "down": ("modelyard.cli.owner", "Stop the control plane and every endpoint."),
}
"""Every command with its module and its line of help; a module is imported when its command is used."""

YOUNG = 20_000
"""Objects made before they are looked through for garbage: imports make so many, of which none is."""


class Commands(click.Group):
    """A group that knows its commands' names without importing them, and guesses at mistyped ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1) if args else []
            raise click.UsageError(f"{exc.message}{f' Did you mean `{near[0]}`?' if near else ''}", ctx) from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=__doc__.rpartition("\n\n")[2].strip())
@click.version_option(__version__, prog_name="modelyard")
def cli() -> None:
    """One config.yaml takes a model from data to a live, watched, self-renewing endpoint.

    MODELYARD_HOME says where state lives (default: ~/.modelyard).
    """


def main(argv: list[str] | None = None) -> Any:
    """Run a command; an error becomes its own words and its exit code."""
    gc.set_threshold(YOUNG)
    as_json = "--json" in (argv if argv is not None else sys.argv[1:])
    try:
        code = _ran(argv, as_json)
    finally:
        if (early := sys.modules.get("modelyard.build.early")) is not None:
            early.over()
    if argv is not None:
        sys.exit(code)
    _leave(code)


def _ran(argv: list[str] | None, as_json: bool) -> int:
    try:
        code = cli.main(argv, prog_name="modelyard", standalone_mode=False)
    except click.ClickException as exc:
        code = _misused(exc, as_json)
    except click.Abort:
        code = _told(YardError("stopped"), as_json)
    except YardError as exc:
        code = _told(exc, as_json)
    except OSError as exc:
        code = _told(_of_system(exc), as_json)
    except Exception as exc:
        code = _broken(exc, as_json)
    return code if isinstance(code, int) else 0


def _leave(code: int) -> NoReturn:
    """End the process as the interpreter does, but do not take apart, object by object, what was imported: that takes up to 0.7 s."""
    threading._shutdown()  # type: ignore[attr-defined]  # threads that are no daemons are waited for
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _misused(exc: click.ClickException, as_json: bool) -> int:
    """A command written wrongly."""
    if as_json:
        from modelyard.errors import BadInput

        return _told(BadInput(exc.format_message(), next="modelyard --help"), as_json)
    exc.show()
    return 2


def _broken(exc: Exception, as_json: bool) -> int:
    """A mistake of ours: with its traceback, which a report needs, and still in the one error shape for programs."""
    import traceback

    traceback.print_exc()
    error = YardError(f"{type(exc).__name__}: {exc}", next="this is a fault of Modelyard; please report it with the lines above")
    error.code = "internal"
    return _told(error, as_json)


def _told(exc: YardError, as_json: bool) -> int:
    if as_json:
        import json

        print(json.dumps(exc.to_dict()))
    else:
        from modelyard.cli.screen import plain

        click.echo(f"{click.style('error:', fg='red', bold=True)} {plain(str(exc))}", err=True)
    return exc.exit_code


def _of_system(exc: OSError) -> YardError:
    """What the operating system refused, in our shape."""
    from modelyard.errors import BadInput, no_room

    return no_room(exc) or BadInput(exc.strerror or str(exc), where=str(exc.filename or ""))
