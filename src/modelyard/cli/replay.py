"""The replay command: a year in minutes, through the very code that production runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.cli.options import JSON, PORT
from modelyard.cli.owner import until_stopped
from modelyard.cli.pipeline import Waiting, _until, give_word, watch
from modelyard.cli.screen import Screen, colour, reason
from modelyard.control.client import LocalCaller
from modelyard.errors import BadInput, YardError
from modelyard.home import Home, default_home, user_name

if TYPE_CHECKING:
    import polars as pl

    from modelyard.monitor.book import Word
    from modelyard.replay import Progress


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("traffic", type=click.Path(path_type=Path))
@click.option("--label-time", metavar="COLUMN", help="Column of TRAFFIC that says when a row's target came to be known; else a day later.")
@click.option("--yes", is_flag=True, help="Approve without asking, where the config lets whoever asked approve.")
@click.option("--exit", "leave", is_flag=True, help="End after the replay instead of serving on until Ctrl-C.")
@PORT
@JSON
def replay(config: Path, traffic: Path, label_time: str | None, yes: bool, leave: bool, port: int, as_json: bool) -> int:
    """Bring CONFIG's model up, then play TRAFFIC (csv or parquet: past requests with their labels) through it on its own clock.

    Verdicts, alerts, retrainings and roll-outs happen as they would have. A home of its own is needed: its clock stands in the past.
    """
    from modelyard import replay as replays
    from modelyard.clock import ReplayClock
    from modelyard.config.load import load
    from modelyard.control.server import Server
    from modelyard.yard import Yard

    loaded = load(config)
    table = replays.read(traffic, loaded.config, label_time)
    clock = ReplayClock(table[loaded.config.data.time_col or ""][0])
    yard = Yard(Home(default_home()).path, clock)
    try:
        _check_past(yard, clock)
        with until_stopped() as stop:
            server = Server(yard, port=port, on_down=stop.set)
            server.start()
            try:
                yard.open()
                caller = LocalCaller(yard, user_name(), server)
                show = _Show(caller, loaded.config.timezone, as_json, table.height, yes)
                code = _until(stop, caller, lambda: _play(caller, show, str(config.resolve()), table, yes, clock))
                if code == 0 and not as_json:
                    _where(caller, loaded.config.model.name)
                if code == 0 and not leave:
                    click.echo("  serving on; Ctrl-C stops everything", err=as_json)
                    stop.wait()
                return code
            finally:
                server.stop()
    finally:
        yard.close()


def _check_past(yard: Any, clock: Any) -> None:
    newest = yard.shop.journal.entries(limit=1)
    if newest and newest[0].at > clock.now().isoformat():
        raise BadInput(
            f"this home has lived until {newest[0].at[:19]}, later than the traffic begins",
            where=str(yard.home.path),
            next="give the replay a home of its own: MODELYARD_HOME=$(mktemp -d) modelyard replay ...",
        )


def _play(caller: LocalCaller, show: _Show, config: str, table: pl.DataFrame, yes: bool, clock: Any) -> int:
    from modelyard import replay as replays
    from modelyard.durable import Stopped

    started = caller.call("up", config=config)
    model = started["model"]
    ended = watch(caller, started["run"], yes=yes, as_json=show.silent, offset=started["offset"])
    if ended.error is not None:
        return _told(ended.error) if show.silent else ended.code
    if ended.code != 0:
        return ended.code
    if not show.silent:
        _one_prediction(caller, model, table)
    try:
        with show:
            progress = replays.replay(caller.yard, clock, model, table, show)
            show.rest()
    except Stopped:
        click.echo("stopped before the traffic was over", err=True)
        return 1
    if show.silent:
        found = caller.call("status", model=model)[0]
        click.echo(json.dumps({"sent": progress.sent, "failed": progress.failed, **found}, default=str))
    else:
        click.echo(f"{click.style('✓', fg='green')} {progress.sent:,} rows replayed, {progress.failed} requests failed")
    return 0 if progress.failed == 0 else 1


def _told(error: YardError) -> int:
    click.echo(json.dumps(error.to_dict()))
    return error.exit_code


def _one_prediction(caller: LocalCaller, model: str, table: pl.DataFrame) -> None:
    """One real answer, and how to ask for it oneself."""
    from modelyard.build import bundle
    from modelyard.flows import holdout

    yard = caller.yard
    signed = bundle.open(yard.shop.version(model).digest, yard.home.path).signature
    record = json.loads(table.head(1).select(signed.names).write_json())[0]
    address = yard.shop.model(model).stage("production").address
    answer = holdout.ask(address, [record], signed)[0]
    click.echo(f"  endpoint: {address}/invocations")
    click.echo(f"  try: curl -s {address}/invocations -H 'Content-Type: application/json' -d '{json.dumps(record)}'")
    click.echo(f"  it answers: {answer}")


def _where(caller: LocalCaller, model: str) -> None:
    found = caller.call("status", model=model)[0]
    champion = next(v for v in found["versions"] if v["version"] == found["champion"])
    click.echo(f"  console:  {caller.server.login}")
    click.echo(f"  report:   {champion['report']}")
    click.echo(f"  endpoint: {found['stages']['production']['address']}/invocations")


class _Show:
    """An `Audience`: a bar for the year, and every run of the monitors and the governor as it happens."""

    def __init__(self, caller: LocalCaller, timezone: str, silent: bool, total: int, yes: bool) -> None:
        self._caller, self._yard, self._timezone, self.silent, self._total, self._yes = caller, caller.yard, timezone, silent, total, yes
        self._screen = Screen(silent)
        self._open: dict[str, int] = {}  # runs that went on in the background, and how much of their feed was shown
        self._left: set[str] = set()  # runs that wait for a word that nobody here gives
        self._task: Any = None

    def __enter__(self) -> _Show:
        self._screen.__enter__()
        self._task = self._screen.bar("replay", self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.__exit__(None, None, None)

    def progress(self, progress: Progress) -> None:
        from zoneinfo import ZoneInfo

        self._screen.move(self._task, progress.sent, f"{progress.now.astimezone(ZoneInfo(self._timezone)):%d %b %Y}")
        self._catch_up()

    def judged(self, word: Word) -> None:
        why = click.style(reason(vars(word)), dim=True)
        self._screen.say(f"{colour(word.status)} {word.monitor:<12} {word.start[:10]}..{word.end[:10]}  {why}")

    def run(self, run: str, until: str | None) -> None:
        if run in self._left and self._caller.call("run", run=run)["awaiting"] is not None:
            return  # said once; not again at every tick
        shown = self._open.pop(run, 0)
        for count, item in enumerate(self._yard.follow(run), 1):
            if count > shown:
                self._screen.show(item)
            moves = until is not None and item["kind"] == "step_started" and item["step"].startswith(until)
            if moves or (item["kind"] == "waiting" and not self._answered(run)):
                self._open[run] = max(shown, count)
                return

    def _answered(self, run: str) -> bool:
        """Give or ask for the word that a run waits for. False where nobody does: it waits while the replay goes on, until it expires."""
        self.__exit__()  # a question and a bar cannot share the terminal
        try:
            give_word(self._caller, run, yes=self._yes, as_json=self.silent, detach=True)
        except Waiting:
            self._left.add(run)
            click.echo(f"  the replay goes on, and {run} waits", err=self.silent)
            return False
        finally:
            self.__enter__()
        return True

    def _catch_up(self) -> None:
        for run, shown in list(self._open.items()):
            items = self._yard.shop.runs.feed(run).items()
            self._open[run] = len(items)
            for item in items[shown:]:
                self._screen.show(item)
                if item["kind"] == "waiting":
                    self._answered(run)
            if items and items[-1]["kind"] == "ended":
                del self._open[run]

    def rest(self) -> None:
        """Wait for what still goes on, but not for a word that nobody here gives: the clock stands, and it would never expire."""
        for run in list(self._open):
            self.run(run, None)
