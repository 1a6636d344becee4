"""Commands that start or steer runs: from a config to production and back."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

from modelyard.build import early
from modelyard.cli.options import CONFIG, JSON, MODEL, PORT, VERSION, show
from modelyard.cli.owner import asking, ensure_server, until_stopped
from modelyard.cli.screen import Ended, confirm, follow
from modelyard.control.client import Caller, LocalCaller
from modelyard.errors import YardError
from modelyard.home import Home, default_home

YES = click.option("--yes", is_flag=True, help="Approve without asking, where the config lets whoever asked approve.")

NO_CACHE = click.option("--no-cache", is_flag=True, help="Do every step again, also where nothing has changed.")
REFRESH = click.option("--refresh", is_flag=True, help="Resolve the requirements anew, for newer releases of what they leave open.")


@click.command()
@CONFIG
@JSON
def plan(config: Path, as_json: bool) -> None:
    """Show what CONFIG would change against what runs. A gate that becomes easier to pass is flagged."""
    with asking() as caller:
        answer = caller.call("plan", config=str(config.resolve()))
    if not show(answer, as_json):
        _tell_changes(answer)


def _tell_changes(answer: dict[str, Any]) -> None:
    if not answer["changes"]:
        click.echo("nothing changes")
    for change in answer["changes"]:
        mark = click.style("! loosens", fg="yellow", bold=True) if change["loosens"] else click.style(f"~ {change['effect']}", fg="cyan")
        click.echo(f"{mark}  {change['sentence']}")


@click.command()
@CONFIG
@YES
@click.option("--detach", is_flag=True, help="Leave the endpoints running in the background.")
@PORT
@NO_CACHE
@REFRESH
@JSON
def up(config: Path, yes: bool, detach: bool, port: int, no_cache: bool, refresh: bool, as_json: bool) -> int:
    """The whole loop: build CONFIG's model, pass its gates, release it to staging and production, serve and watch it.

    Without --detach it stays in the foreground until Ctrl-C, which stops everything cleanly; the next `up` goes on from there.
    A run that was cut short, even by kill -9, resumes at its last completed step.
    """
    words = {"config": str(config.resolve()), "cache": not no_cache, "refresh": refresh}
    if detach:
        return _up(ensure_server(port), words, yes, as_json, detach=True)
    with (
        early.begun("up", default_home(), config.resolve()),
        until_stopped() as stop,
        asking(live=True, console=port, on_down=stop.set) as caller,
    ):
        code = _until(stop, caller, lambda: _up(caller, words, yes, as_json))
        if isinstance(caller, LocalCaller) and code in (0, 3) and not stop.is_set() and _anything_live(caller):
            if not as_json:
                click.echo("  serving and watching; Ctrl-C stops everything")
            stop.wait()
        return code


def _anything_live(caller: Caller) -> bool:
    return any(stage["live"] for model in caller.call("status") for stage in model["stages"].values())


def _until(stop: threading.Event, caller: Caller, work: Any) -> int:
    """Run `work` here; a signal lets the yard's runs stop at their next step, so that `work` ends too. Another owner's runs go on."""

    def halt() -> None:
        stop.wait()
        if isinstance(caller, LocalCaller):
            caller.yard.halt()
        else:
            os.kill(os.getpid(), signal.SIGINT)  # the second one: it ends this command

    threading.Thread(target=halt, name="halt", daemon=True).start()
    return int(work())


def _up(caller: Caller, words: dict[str, Any], yes: bool, as_json: bool, *, detach: bool = False) -> int:
    started = caller.call("up", **words)
    if isinstance(caller, LocalCaller):  # this process owns the home: the other models are its care too
        caller.yard.resume()
        caller.yard.start_watching()
    if not as_json:
        click.echo(f"{'resuming' if started['resumed'] else 'run'} {started['run']}")
        for change in started["changes"]:
            if change["loosens"]:
                click.echo(f"{click.style('! loosens', fg='yellow', bold=True)}  {change['sentence']}")
    ended = watch(caller, started["run"], yes=yes, as_json=as_json, detach=detach, offset=started["offset"])
    return _report(caller, started["model"], started["run"], as_json, ended)


def watch(caller: Caller, run: str, *, yes: bool = False, as_json: bool = False, detach: bool = False, offset: int = 0) -> Ended:
    """Follow a run to its end, giving or asking for the word it waits for. Code 4 when detached and it goes on waiting."""

    def on_wait(item: dict[str, Any]) -> None:
        give_word(caller, run, yes=yes, as_json=as_json, detach=detach)

    try:
        return follow(caller, run, as_json=as_json, on_wait=on_wait, offset=offset)
    except Waiting:
        return Ended(4)


def give_word(caller: Caller, run: str, *, yes: bool, as_json: bool, detach: bool) -> None:
    """Give or ask for the word that a run waits for. Raises Waiting where nobody here gives it, and `detach` lets it wait alone."""
    waiting = caller.call("run", run=run)["awaiting"]
    if waiting is None:
        return
    named = f"{waiting['model']}:{waiting['version']}"
    if not as_json:
        click.echo(f"  {named} waits for approval to enter {waiting['stage']}; from any terminal: modelyard approve {named}")
    try:
        if yes:
            caller.call("approve", model=waiting["model"], version=waiting["version"], comment="--yes")
        elif sys.stdin.isatty() and not as_json:
            _ask(caller, run, waiting, named)
        elif detach:
            raise Waiting
    except YardError as exc:
        click.echo(f"  {exc}", err=True)
        if detach:
            raise Waiting from exc


class Waiting(Exception):
    """Nobody is here to give the word."""


def _ask(caller: Caller, run: str, waiting: dict[str, Any], named: str) -> None:
    said = confirm(f"  let {named} into {waiting['stage']}?", lambda: caller.call("run", run=run)["awaiting"] is not None)
    if said is not None:
        caller.call("approve" if said else "reject", model=waiting["model"], version=waiting["version"])


def _report(caller: Caller, model: str, run: str, as_json: bool, ended: Ended) -> int:
    """Where everything is, at the end; for programs with the run's error, in its one shape, beside. Returns the exit code."""
    found = caller.call("status", model=model)[0]
    state = caller.call("run", run=run)
    if as_json:
        error = ended.error.to_dict() if ended.error else {}
        own = {"run": run, **{name: state[name] for name in ("status", "reason", "report")}}
        click.echo(json.dumps({**error, **own, **found}, default=str))
        return ended.code
    address = found["stages"]["production"]["address"]
    newest = None if ended.error else next((v["report"] for v in found["versions"]), None)  # of an error it would be another's
    if report := state["report"] or newest:
        click.echo(f"  report: {report}")
    if found["stages"]["production"]["live"]:
        click.echo(f"  endpoint: {address}/invocations   (modelyard predict {model} FILE)")
    if (console := Home(default_home()).console).exists():
        click.echo(f"  console: {console.read_text(encoding='utf-8')}")
    return ended.code


@click.command()
@CONFIG
@NO_CACHE
@REFRESH
@JSON
def build(config: Path, no_cache: bool, refresh: bool, as_json: bool) -> int:
    """Run the build pipeline only: data, training, evaluation, gates, registration. Nothing is deployed.

    What was done before, of the same code, rows, config and environment, is kept and not done again. Locked requirements stay as they
    were resolved until they are edited, or `--refresh`.

    Exit code 3 when a gate says no: for continuous integration.
    """
    config = config.resolve()
    with early.begun("build", default_home(), config), until_stopped() as stop, asking(runs=True, on_down=stop.set) as caller:
        started = caller.call("build", config=str(config), cache=not no_cache, refresh=refresh)
        return _until(stop, caller, lambda: _to_the_end(caller, started, as_json))


def _to_the_end(caller: Caller, started: dict[str, Any], as_json: bool) -> int:
    ended = watch(caller, started["run"], as_json=as_json, offset=started["offset"])
    return _report(caller, started["model"], started["run"], as_json, ended)


def _steer(verb: str, as_json: bool, yes: bool = False, **words: Any) -> int:
    """Start a run in the control plane, in the background where none runs, and follow it."""
    with asking() as first:
        first.call("status", model=words["model"])  # a mistyped name starts no server
    caller = ensure_server()
    started = caller.call(verb, **words)
    ended = watch(caller, started["run"], yes=yes, as_json=as_json, detach=True)
    return _report(caller, started["model"], started["run"], as_json, ended)


@click.command()
@VERSION
@click.option("--stage", type=click.Choice(["staging", "production"]), help="Only this stage; by default one after the other.")
@YES
@JSON
def deploy(version: tuple[str, str | None], stage: str | None, yes: bool, as_json: bool) -> int:
    """Release MODEL[:VERSION] (the newest by default): approval, endpoint, smoke test, traffic by the config's strategy."""
    return _steer("deploy", as_json, yes, model=version[0], version=version[1], stage=stage)


@click.command()
@MODEL
@JSON
def rollback(model: str, as_json: bool) -> int:
    """Give MODEL's production traffic back to the version that had it before."""
    return _steer("rollback", as_json, model=model)


@click.command()
@MODEL
@NO_CACHE
@YES
@JSON
def retrain(model: str, no_cache: bool, yes: bool, as_json: bool) -> int:
    """Build a challenger for MODEL on its data and the labelled rows captured so far; promote it if it wins.

    Now, whatever the governor thinks: its cool-down, budget and freezes hold nobody back who asks, and it counts this retraining among
    its own. On the very same rows as before nothing is built, but with --no-cache.
    """
    return _steer("retrain", as_json, yes, model=model, cache=not no_cache)


@click.command()
@VERSION
@JSON
def reproduce(version: tuple[str, str | None], as_json: bool) -> int:
    """Build MODEL[:VERSION] again from its own code, data and lock, and say whether predictions and metrics are equal.

    Exit code 3, and where they part, when they are not.
    """
    with asking(runs=True) as caller:
        started = caller.call("reproduce", model=version[0], version=version[1])
        ended = follow(caller, started["run"], as_json=as_json)
        state = caller.call("run", run=started["run"])
        error = ended.error.to_dict() if ended.error else {}
        show({**error, "run": started["run"], "reproduced": not error, "status": state["status"], "reason": state["reason"]}, as_json)
        return ended.code


@click.command()
@VERSION
@click.option("--comment", default="", help="Why; kept in the journal.")
@JSON
def approve(version: tuple[str, str | None], comment: str, as_json: bool) -> None:
    """Let MODEL[:VERSION] into the stage it waits for. Whoever asked for it cannot, unless the config says `allow_self`."""
    _word("approve", version, comment, as_json)


@click.command()
@VERSION
@click.option("--comment", default="", help="Why; kept in the journal.")
@JSON
def reject(version: tuple[str, str | None], comment: str, as_json: bool) -> None:
    """Keep MODEL[:VERSION] out of the stage it waits for."""
    _word("reject", version, comment, as_json)


def _word(verb: str, version: tuple[str, str | None], comment: str, as_json: bool) -> None:
    with asking() as caller:
        answer = caller.call(verb, model=version[0], version=version[1], comment=comment)
        remote = caller.remote
    if not show(answer, as_json):
        click.echo(f"{click.style('✓', fg='green')} {answer['sentence']}")
        if not remote:
            click.echo("  next: `modelyard up` or `modelyard server` carries it out")
