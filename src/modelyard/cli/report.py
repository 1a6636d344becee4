"""`modelyard report`: a version's model card, as text, as a page or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, VERSION, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import plain

MARKS = {"passed": ("✓", "green"), "failed": ("✕", "red"), "warning": ("!", "yellow"), "none": ("-", "")}


@click.command()
@VERSION
@click.option("--html", "page", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page with pictures.")
@JSON
def report(version: tuple[str, str | None], page: Path | None, as_json: bool) -> None:
    """The model card of MODEL[:VERSION], the champion's by default, as it stands today.

    What the version is and was made of, its metrics, gates and weak spots, whom it treats how, who approved it, where it serves.
    """
    with asking() as caller:
        answer = caller.call("report", model=version[0], version=version[1])
    if page is not None:
        from modelyard.quality.report import render

        page.write_text(render(answer), encoding="utf-8")
    if show(answer, as_json):
        return
    click.echo("\n".join(summary(answer)))
    if page is not None:
        click.echo(f"{click.style('✓', fg='green')} {page}")


def summary(found: dict[str, Any]) -> list[str]:
    """The card's first screen as lines."""
    from modelyard.quality import page

    main, today = found["headline"], found["today"]
    lines = [click.style(f"{found['model']['name']}:{found['version']}", bold=True) + f"  {_said(found['verdict'])}"]
    if main:
        span = page.span(main["low"], main["high"])
        beside = [
            f"{word} {page.measure(main[key])}"
            for key, word in (("champion", "champion"), ("baseline", "learned nothing"))
            if page.finite(main[key])
        ]
        lines.append(
            f"  {main['title']}  {page.measure(main['value'])}" + (f"  ({span})" if span else "") + "".join(f"  {said}" for said in beside)
        )
    lines += [f"  {_said({'state': page.state_of(gate), 'sentence': gate['sentence']})}" for gate in found["gates"]]
    lines += [f"  {word['at'][:16].replace('T', ' ')}  {plain(word['sentence'])}" for word in today["approvals"]]
    lines += [f"  {plain(waits['sentence'])}" for waits in today["waiting"]]
    serves = ", ".join(f"{stage} {share}%" for stage, share in today["serves"].items())
    facts = {
        "owner": plain(found["model"].get("owner") or "none named"),
        "serves": serves or "nowhere",
        "data": str(found["data"]["digest"])[:12],
        "bundle": today["bundle"][:12],
    }
    return [*lines, *(f"  {name:<7} {value}" for name, value in facts.items())]


def _said(verdict: dict[str, Any]) -> str:
    mark, color = MARKS[verdict["state"]]
    return f"{click.style(mark, fg=color or None)} {plain(verdict['sentence'])}"
