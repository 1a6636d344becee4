"""Commands about traffic that moves, and about two versions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, VERSION, VersionOfModel, show
from modelyard.cli.owner import asking
from modelyard.cli.report import MARKS
from modelyard.cli.screen import plain, table
from modelyard.errors import BadInput


@click.command()
@MODEL
@click.argument("word", type=click.Choice(["status", "promote", "abort"]), default="status")
@JSON
def rollout(model: str, word: str, as_json: bool) -> None:
    """Show MODEL's roll-out with its alarms; `abort` gives all traffic back, `promote` ends an A/B test that a person decides."""
    with asking() as caller:
        answer = caller.call("rollout", model=model, word=word)
    if show(answer, as_json):
        return
    if word != "status":
        said = "is promoted once it has answered enough" if word == "promote" else "is being taken back"
        click.echo(f"{click.style('✓', fg='green')} {model}:{answer['version']} {said}; follow it with `modelyard logs {answer['run']}`")
    elif (found := answer["rollout"]) is None:
        click.echo(f"no traffic of {model} moves" + (f"\n  last: {plain(answer['last'])}" if answer["last"] else ""))
    else:
        _tell(model, found)


def _tell(model: str, found: dict[str, Any]) -> None:
    shares = ", ".join(f"version {v} {w}%" for v, w in found["weights"].items())
    bakes = found["elapsed"] / found["bake"]
    click.secho(f"{model}:{found['version']} over {model}:{found['champion']}  {found['kind']}, step {found['step']}", bold=True)
    click.echo(f"  {shares}; {found['requests']:,} requests in {bakes:.1f} bake times")
    click.echo(table([[a["alarm"], a["seen"], a["rings"]] for a in found["alarms"]], ["ALARM", "SEEN", "RINGS"]))
    click.echo(f"  take it back: modelyard rollout {model} abort")
    if found["kind"] == "ab" and found["metric"] is None:
        click.echo(f"  let it win:   modelyard rollout {model} promote")


@click.command()
@VERSION
@click.argument("other", metavar="[MODEL:VERSION]", required=False, type=VersionOfModel())
@click.option("--last", type=click.IntRange(1), help="Captured requests to ask both, the newest; by default as the config's replay has it.")
@click.option("--html", "page", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page with pictures.")
@JSON
def compare(
    version: tuple[str, str | None], other: tuple[str, str | None] | None, last: int | None, page: Path | None, as_json: bool
) -> None:
    """Ask MODEL[:VERSION] the newest captured requests, and another version too (the champion, where none is named).

    What differs, where and by how much, whether it fails, how fast it is, and the metric on rows whose labels are known.
    """
    if other is not None and other[0] != version[0]:
        raise BadInput("two versions of one model can be compared", where=f"{version[0]} and {other[0]}")
    with asking(runs=True) as caller:
        answer = caller.call("compare", model=version[0], version=version[1], other=other[1] if other else None, last=last)
    if page is not None:
        from modelyard.quality.comparison_page import render

        page.write_text(render(answer), encoding="utf-8")
    if show(answer, as_json):
        return
    verdict = answer["verdict"]
    mark, color = MARKS["none" if verdict["ok"] is None else "passed" if verdict["ok"] else "warning"]
    click.echo(f"{click.style(mark, fg=color or None)} {answer['version']} beside {answer['champion']}: {plain(verdict['sentence'])}")
    for line in _lines(answer):
        click.echo(f"  {line}")


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [plain(note) for note in found["notes"]]
    measured, latency = found["measured"], found["latency"]
    if measured is not None:
        lines += [
            f"{part['column']} {plain(str(part['value']))}: {part['share']:.1%} of {part['rows']:,} answered otherwise"
            for part in sorted(measured["slices"], key=lambda part: -part["share"])[:5]
        ]
    if latency is not None:
        lines += [f"{name[:3]} {latency['new'][name]:.3f} ms, and {latency['old'][name]:.3f} ms" for name in ("p50_ms", "p99_ms")]
    return lines
