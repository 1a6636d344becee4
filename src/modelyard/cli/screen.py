"""What a person sees while a run goes on: a line a step, a bar for the one at work, and the facts it tells of."""

from __future__ import annotations

import re
import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import click

from modelyard.control.client import Caller, as_error
from modelyard.errors import YardError

CODES = {"done": 0, "refused": 3, "stopped": 1}
SHOWN_BY_STEP = frozenset({"Deployed", "Promoted", "VersionRegistered", "ConfigAccepted", "ApprovalRequested", "SmokeTested"}) | {
    *("WindowJudged", "ChallengeJudged", "RetrainDecided", "RolledBack"),
}
"""Facts that the line of their step tells already."""
STEERING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Escape sequences: colours and cursor moves, titles and links, and the short ones."""
Ask = Callable[[dict[str, Any]], None]


class Screen:
    """Shows a run's items: with bars on a terminal, as plain lines elsewhere, and nothing at all for programs."""

    def __init__(self, as_json: bool = False) -> None:
        self._silent, self._rich = as_json, sys.stdout.isatty() and not as_json
        self._progress: Any = None
        self._task: Any = None
        self._search: Any = None
        self._at_work: set[str] = set()

    def __enter__(self) -> Screen:
        if self._rich:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[last]}", justify="left"),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line."""
        if self._silent:
            return
        if self._progress is not None:
            from rich.text import Text

            self._progress.console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            click.echo(text)

    def bar(self, name: str, total: int) -> Any:
        """A bar of a known length; None where there is no terminal."""
        return None if self._progress is None else self._progress.add_task(f"{name:<28}", total=total, last="")

    def move(self, task: Any, done: int, last: str) -> None:
        """Move a bar on."""
        if task is not None:
            self._progress.update(task, completed=done, last=last)

    def show(self, item: dict[str, Any]) -> None:
        """One item of a feed."""
        kind = item["kind"]
        handler = getattr(self, f"_{kind}", None)
        if handler is not None:
            handler(item)

    def _step_started(self, item: dict[str, Any]) -> None:
        self._at_work.add(item["step"])
        if self._progress is not None:
            self._clear()
            self._task = self._progress.add_task(f"{item['step']:<28}", total=None, last="")

    def _trials(self, item: dict[str, Any]) -> None:
        """How far a search over hyperparameters has come."""
        if self._progress is None:
            self.say(f"    {item['sentence']}")
            return
        if self._search is None:
            self._search = self.bar("trials", item["total"])
        self.move(self._search, item["done"], item["sentence"])

    def _step_done(self, item: dict[str, Any]) -> None:
        self._clear()
        self._at_work.discard(item["step"])
        if item["step"] == "train" and self._search is not None:
            self._progress.remove_task(self._search)
            self._search = None
        summary = click.style(item["summary"], dim=True)
        self.say(f"{click.style('✓', fg='green')} {item['step']:<28} {item['seconds']:6.1f} s  {summary}")

    def _step_kept(self, item: dict[str, Any]) -> None:
        self.say(f"{click.style('↺', fg='cyan')} {item['step']:<28} {click.style('done before the restart', dim=True)}")

    def _fact(self, item: dict[str, Any]) -> None:
        if item["event"] not in SHOWN_BY_STEP:
            self.say(f"    {item['sentence']}")

    def _line(self, item: dict[str, Any]) -> None:
        text = plain(item["text"])
        if len(self._at_work) > 1:
            text = f"{item['step']}: {text}"
        if self._progress is not None and self._task is not None:
            from rich.markup import escape

            self._progress.update(self._task, last=escape(text[:80]))
        else:
            self.say(click.style(f"    | {text}", dim=True))

    def _error(self, item: dict[str, Any]) -> None:
        self._clear()
        self.say(f"{click.style('✗', fg='red', bold=True)} {plain(str(as_error(item)))}")

    def _ended(self, item: dict[str, Any]) -> None:
        self._clear()
        if item["status"] == "done":
            self.say(f"{click.style('✓', fg='green', bold=True)} {item['reason']}")

    def _clear(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


@dataclass(frozen=True)
class Ended:
    """How a run ended, as the CLI says it. `error` is None where it ended well."""

    code: int
    error: YardError | None = None


def follow(caller: Caller, run: str, *, as_json: bool = False, on_wait: Ask | None = None, offset: int = 0) -> Ended:
    """Show a run to its end, from byte `offset` of its feed on; `on_wait` is told when it waits for a word."""
    error: YardError | None = None
    status = "stopped"
    with Screen(as_json) as screen:
        for item in caller.follow(run, offset):
            screen.show(item)
            if item["kind"] == "error":
                error = as_error(item)
            elif item["kind"] == "ended":
                status = item["status"]
            elif item["kind"] == "waiting" and on_wait is not None:
                screen.__exit__(None, None, None)
                on_wait(item)
                screen.__enter__()
    return Ended(CODES.get(status, error.exit_code if error else 1), error if status != "done" else None)


def plain(text: str) -> str:
    """What a script wrote, without whatever would steer the terminal: it shows, and does nothing else."""
    return "".join(c for c in STEERING.sub("", text) if c.isprintable() or c in "\n\t")


def confirm(question: str, still: Callable[[], bool]) -> bool | None:
    """Ask on the terminal; None when `still()` no longer holds, as when somebody else has answered meanwhile."""
    click.echo(f"{question} [y/N] ", nl=False)
    while still():
        if select.select([sys.stdin], [], [], 0.5)[0]:
            return sys.stdin.readline().strip().lower() in ("y", "yes")
    click.echo("answered elsewhere")
    return None


def reason(word: dict[str, Any]) -> str:
    """Why a monitor said so, without its name, which stands beside it."""
    again = f"  (revision {word['revision']})" if word["revision"] > 1 else ""
    return plain(word["reason"]).removeprefix(f"{word['monitor']}: ") + again


def table(rows: list[list[str]], head: list[str]) -> str:
    """Columns of text, aligned."""
    lines = [head, *rows]
    widths = [max(len(click.unstyle(row[i])) for row in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell + " " * (widths[i] - len(click.unstyle(cell))) for i, cell in enumerate(row)).rstrip() for row in lines)


def colour(status: str) -> str:
    """A verdict's or a run's status in its colour."""
    colours = {
        "healthy": "green",
        "done": "green",
        "warning": "yellow",
        "running": "cyan",
        "violated": "red",
        "failed": "red",
        "refused": "red",
    }
    return click.style(status, fg=colours.get(status, "bright_black"))
