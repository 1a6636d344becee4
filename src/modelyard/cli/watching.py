"""Commands that look: at models, runs, verdicts, and at who answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelyard.cli.options import JSON, MODEL, complete_models, show
from modelyard.cli.owner import asking
from modelyard.cli.screen import Screen, colour, follow, plain, reason, table
from modelyard.clock import to_minute
from modelyard.errors import NotFound

SHOWN, TREND, TREND_WIDTH = 30, 360, 60
"""Words that a table shows where nothing else is asked for; words that are read for the trend, and windows of a monitor in it."""
WORST = ("violated", "warning", "healthy", "unknown")
BARS = {"violated": "█", "warning": "▅", "healthy": "▂", "unknown": "·"}
TONES = {"violated": "red", "warning": "yellow", "healthy": "green"}


@click.command()
@click.argument("model", required=False, shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@JSON
def status(model: str | None, as_json: bool) -> None:
    """Show every model, or one MODEL in full: versions, stages, verdicts, and what waits for a word."""
    with asking() as caller:
        models = caller.call("status", model=model)
    if show(models, as_json):
        return
    if not models:
        click.echo("no model yet\n  next: modelyard up config.yaml")
    elif model is None:
        click.echo(table([_brief(m) for m in models], ["MODEL", "CHAMPION", "PRODUCTION", "MONITORS", "WAITING"]))
    else:
        _full(models[0])


def _brief(model: dict[str, Any]) -> list[str]:
    production = model["stages"]["production"]
    where = production["address"] if production["live"] else click.style("not up", dim=True) if production["weights"] else "-"
    waiting = ", ".join(f"{w['version']} for {w['stage']}" for w in model["awaiting"])
    return [model["model"], model["champion"] or "-", where, _worst(model["monitors"]), waiting or "-"]


def _worst(monitors: dict[str, Any]) -> str:
    """The worst that any monitor said last, and which ones say so; a dash where none has said anything."""
    said = {kind: verdict["status"] for kind, verdict in monitors.items() if verdict}
    status = next((s for s in WORST if s in said.values()), None)
    if status is None:
        return "-"
    by = [kind for kind in said if said[kind] == status]
    return f"{colour(status)} {'all ' + str(len(by)) if len(by) == len(said) > 1 else ', '.join(by)}"


def _full(model: dict[str, Any]) -> None:
    click.secho(f"{model['model']}  {model['problem_type']}  {model['owner'] or ''}", bold=True)
    for stage, state in model["stages"].items():
        shares = ", ".join(f"version {v} {w}%" for v, w in state["weights"].items()) or "nothing"
        click.echo(f"  {stage:<12} {shares}  {state['address'] if state['live'] else '(not up)' if state['weights'] else ''}")
    if (moving := model["rollout"]) is not None:
        alarms = "; ".join(f"{a['alarm']} {a['seen']}" for a in moving["alarms"] if a["alarm"] in ("errors", "latency", "disagreement"))
        step = f"version {moving['version']}, {moving['kind']} step {moving['step']}"
        click.echo(f"  {click.style('moves', fg='cyan')}        {step}: {alarms}")
        click.echo(f"    next: modelyard rollout {model['model']}")
    for kind, verdict in model["monitors"].items():
        if verdict:
            when = "..".join(to_minute(verdict[end]).removesuffix("T00:00") for end in ("start", "end"))
            pad = " " * (8 - len(verdict["status"]))
            click.echo(f"  {kind:<12} {colour(verdict['status'])}{pad}  {when}  {plain(verdict['reason']).removeprefix(kind + ': ')}")
    if model["last_decision"]:
        click.echo(f"  governor     {model['last_decision']}")
    for waiting in model["awaiting"]:
        click.echo(f"  {click.style('waits', fg='yellow')}        {waiting['sentence']}")
        click.echo(f"    next: modelyard approve {model['model']}:{waiting['version']}")
    click.secho("versions", bold=True)
    for version in model["versions"]:
        click.echo(f"  {version['version']:>3}  {version['registered_at'][:19]}  {version['digest'][:12]}  {'; '.join(version['gates'])}")
        answers = f"answers by {version['answers']}" if version["answers"] else ""
        for word in filter(None, (answers, *version["approvals"], *([version["replay"]["sentence"]] if version["replay"] else []))):
            click.echo(f"       {word}")
    click.secho("runs", bold=True)
    for run in model["runs"]:
        click.echo(f"  {run['run']:<20} {colour(run['status'])}  {run['reason']}")


@click.command()
@click.argument("what", metavar="MODEL|RUN", shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@JSON
def logs(what: str, as_json: bool) -> None:
    """Show what happened in a run, or in MODEL's newest one, with every line its steps wrote."""
    with asking() as caller:
        answer = caller.call("logs", what=what)
        if show(answer, as_json):
            return
        run = answer["run"]
        click.secho(f"{run['run']}  {run['model']}  {colour(run['status'])}  by {run['by']}  {run['because']}", bold=True)
        with Screen() as screen:
            for item in answer["items"]:
                screen.show(item)


@click.command()
@MODEL
@click.option("--now", is_flag=True, help="Judge every window that is due, now.")
@click.option("--captured", metavar="FOLDER", type=click.Path(path_type=Path), help="First take in SageMaker's data capture below FOLDER.")
@click.option("--since", metavar="TIME", default="", help="Only windows after TIME, such as 2026-11-24, 2026-11-24T12:00, or 7d ago: 7d.")
@click.option("--until", metavar="TIME", default="", help="Only windows before TIME; both in the model's time zone.")
@click.option("--monitor", "kind", metavar="NAME", help="Only one monitor: drift, performance, data_quality, ...")
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="How many words are shown.  [default: 30; all with --json]")
@click.option("--report", "page", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as a page.")
@click.option("--window", metavar="TIME", default="", help="With --report: of the window that begins at TIME, or holds it.")
@JSON
def monitor(
    model: str,
    now: bool,
    captured: Path | None,
    since: str,
    until: str,
    kind: str | None,
    last: int | None,
    page: Path | None,
    window: str,
    as_json: bool,
) -> int:
    """Show what MODEL's monitors said of each window; with --now, or with what was captured elsewhere, judge what is due first.

    With --report: write all of it as a page with pictures, of the newest window, of one, or of the span from --since to --until.
    """
    if window and ((page is None and not as_json) or since or until):
        raise click.UsageError("--window goes with --report or --json, and without --since and --until")
    judges = now or captured is not None
    with asking(runs=judges) as caller:
        code = 0
        caller.call("status", model=model)  # a model that is not there has no verdicts, and should be said so
        if captured is not None:
            taken = caller.call("take-captured", model=model, folder=str(captured.resolve()))
            known = f", {taken['known']:,} known already" if taken["known"] else ""
            click.echo(f"{click.style('✓', fg='green')} {taken['rows']:,} captured rows taken in{known}", err=as_json)
        if judges:
            code = follow(caller, caller.call("monitor", model=model)["run"], as_json=as_json).code
        if page is not None or window:
            _report(caller.call("window-report", model=model, since=since, until=until, window=window), page, as_json)
            return code
        asked = {"model": model, "since": since, "until": until, "monitor": kind}
        words = caller.call("windows", **asked, limit=last if as_json else max(last or SHOWN, TREND))
        more = caller.call("count-windows", **asked)["windows"] if len(words) >= TREND and not as_json else len(words)
    if show(words, as_json):
        return code
    _windows(words, last or SHOWN, more, model, filtered=bool(since or until or kind))
    return code


def _windows(words: list[dict[str, Any]], most: int, count: int, model: str, *, filtered: bool) -> None:
    """The newest words as a table, under a line a monitor of how it went; and how many older ones there are."""
    if not words:
        nothing = f"no such window was judged\n  next: modelyard monitor {model}"
        first = f"no window has been judged yet\n  next: modelyard monitor {model} --now, once a window of traffic is over"
        click.echo(nothing if filtered else first)
        return
    if len(words) > 1:
        for kind in dict.fromkeys(w["monitor"] for w in words):
            statuses = [w["status"] for w in words if w["monitor"] == kind][-TREND_WIDTH:]
            click.echo(f"{kind:<13} {''.join(click.style(BARS.get(s, '?'), fg=TONES.get(s)) for s in statuses)}  {statuses[-1]}")
        click.echo()
    shown = words[-most:]
    rows = [
        [w["monitor"], f"{to_minute(w['start'])} .. {to_minute(w['end'])}", w["version"] or "-", colour(w["status"]), reason(w)]
        for w in shown
    ]
    click.echo(table(rows, ["MONITOR", "WINDOW (UTC)", "VERSION", "VERDICT", "REASON"]))
    if count > len(shown):
        click.echo(f"{count - len(shown):,} older words are not shown: --last N shows more, --since and --until a part of time")


def _report(found: dict[str, Any], page: Path | None, as_json: bool) -> None:
    """Write a report's page, and say in a line what it says. Raises NotFound where there is nothing to report."""
    if not found["words"] and found["missing"]:
        model = found["model"]["name"]
        what = f"no window of `{model}` was judged then, and {found['missing']}"
        raise NotFound(
            what, where=f"{to_minute(found['span']['start'])} .. {to_minute(found['span']['end'])}", next=f"modelyard monitor {model}"
        )
    if page is not None:
        from modelyard.quality.window import render

        page.write_text(render(found), encoding="utf-8")
    if not show(found, as_json) and page is not None:
        click.echo(f"{click.style('✓', fg='green')} {page}  {found['verdict']['sentence']}")


@click.command(name="who-served")
@click.argument("model", required=False, shell_complete=lambda ctx, param, incomplete: complete_models(incomplete))
@click.option("--prediction", metavar="ID", help="The inference id of a captured prediction.")
@click.option("--at", metavar="TIME", help="An instant, such as 2026-11-24T12:00:00+00:00.")
@JSON
def who_served(model: str | None, prediction: str | None, at: str | None, as_json: bool) -> None:
    """Say which version answered a prediction, or served MODEL at a TIME: its data, commit, gates and approver."""
    with asking() as caller:
        answer = caller.call("who-served", model=model, prediction=prediction, at=at)
    if show(answer, as_json):
        return
    if "prediction" in answer:
        row = answer["prediction"]
        click.echo(f"{prediction}: {row['y.prediction']} at {row['event_time']} in {answer['stage']}, {row['latency_ms']:.1f} ms")
    for version in [answer["version"]] if "version" in answer else answer["versions"]:
        _lineage(version, answer.get("weights", {}))


def _lineage(version: dict[str, Any], weights: dict[str, int]) -> None:
    share = f"  {weights[version['version']]}% of the traffic" if weights else ""
    click.secho(f"{version['model']}:{version['version']}{share}", bold=True)
    commit = version["commit"] or "not in Git"
    for name, value in (
        ("bundle", version["digest"]),
        ("data", version["data_digest"]),
        ("code", version["code_digest"]),
        ("commit", f"{commit}{' (with uncommitted changes)' if version['dirty'] else ''}"),
        ("environment", version["lock_digest"]),
        ("config", version["config_digest"]),
        ("because", version["because"]),
    ):
        if value:
            click.echo(f"  {name:<12} {value}")
    for gate in version["gates"]:
        click.echo(f"  gate         {gate}")
    for word in version["approvals"]:
        click.echo(f"  approval     {word['sentence']}")
