"""Who owns the home: another process that is asked over its socket, or this one, for as long as its command lasts."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from modelyard.cli.options import JSON, PORT, show
from modelyard.control.client import Caller, LocalCaller, RemoteCaller
from modelyard.errors import LEAST_ROOM, HomeLocked, NoRoom, Unavailable, YardError
from modelyard.home import Home, append_private, default_home, user_name

if TYPE_CHECKING:
    from modelyard.control.server import Server
    from modelyard.yard import Yard

START_SECONDS = 300.0
"""How long the control plane may take until every endpoint is up again."""
HOME_LOOK = 1.0
"""Seconds between two looks at whether the home is still there."""
PATIENCE = 15.0
"""Seconds to wait for an owner that is just starting or just ending."""


def owner_of(home: Home, *, staying: bool = False) -> RemoteCaller | None:
    """The process that owns the home, if one does; with `staying`, once it is none that ends with its command.

    Raises HomeLocked when an owner never answers.
    """
    remote, deadline, told = RemoteCaller(home.socket), time.monotonic() + PATIENCE, False
    while home.locked:
        health = remote.health()
        if health is not None and (health["stays"] or not staying):
            return remote
        if health is not None:
            deadline = time.monotonic() + PATIENCE
            if not told:
                click.echo(f"another command (process {home.owner}) owns the home; waiting for its end", err=True)
            told = True
        elif time.monotonic() > deadline:
            raise HomeLocked(
                f"process {home.owner} owns the home and does not answer",
                where=str(home.path),
                next="stop that process, or set MODELYARD_HOME to another folder",
            )
        time.sleep(0.1)
    return None


def _yard() -> type[Yard]:
    """The yard's class. Its import makes objects by the hundred thousand, all of them to stay: they are not looked through for garbage."""
    gc.disable()
    try:
        from modelyard.yard import Yard
    finally:
        gc.freeze()
        gc.enable()
    return Yard


def _owned(home: Home, staying: bool) -> RemoteCaller | Yard:
    """The owner, or a yard of this process's own. Of two commands that start at once the second asks the first."""
    while (remote := owner_of(home, staying=staying)) is None:
        made = _yard()
        with suppress(HomeLocked):
            return made(home.path)
    return remote


@contextmanager
def asking(
    *, runs: bool = False, live: bool = False, console: int | None = None, on_down: Callable[[], None] = lambda: None
) -> Iterator[Caller]:
    """A caller: the owner's, else this process's own yard, to which other terminals may then speak too.

    `runs`: something is started, so an owner that ends with its own command is waited for and not asked. `live` brings the endpoints
    up, `console` (a port) shows the console, `on_down` is how `modelyard down` stops this process; all three only where this process
    becomes the owner.
    """
    home = Home(default_home())
    if isinstance(found := _owned(home, staying=runs or live), RemoteCaller):
        yield found
        return
    from modelyard.control.server import Server

    yard = found
    try:
        if live:
            yard.open()
        server = Server(yard, port=console, on_down=on_down, stays=live)
        server.start()
        try:
            yield LocalCaller(yard, user_name(), server)
        finally:
            server.stop()
    finally:
        yard.close()


def ensure_server(port: int = -1) -> RemoteCaller:
    """The owner of the home, started in the background where there is none."""
    home = Home(default_home())
    if (remote := owner_of(home, staying=True)) is not None:
        return remote
    with append_private(home.server_log) as log:
        began = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "modelyard.cli", "server", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "MODELYARD_HOME": str(home.path)},
        )
    remote, deadline = RemoteCaller(home.socket), time.monotonic() + START_SECONDS
    while (remote.health() or {}).get("status") != "ok":
        if child.poll() is not None or time.monotonic() > deadline:
            raise _no_server(home, began)
        time.sleep(0.05)
    return remote


def _no_server(home: Home, began: int) -> YardError:
    """Why the control plane did not come up, in its own last words."""
    if shutil.disk_usage(home.path).free < LEAST_ROOM:
        return NoRoom("no space left on device", where=str(home.path), next="make room on the disk and run the command again")
    said = home.server_log.read_bytes()[began:].decode("utf-8", "replace").strip()
    last = said.rpartition("error: ")[2].splitlines()[:1]
    why = f": {last[0]}" if last else ""
    return Unavailable(f"the control plane could not start in the background{why}", where=str(home.server_log), next="read that log")


class _Stop(threading.Event):
    """An event whose wait lets signals in. Polars, once loaded, has system calls restarted after SIGINT, so that a wait without a time
    limit in the main thread would never come back to Python, and no handler would ever run."""

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            return super().wait(timeout)
        while not super().wait(0.2):
            pass
        return True


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or `modelyard down` sets. A second signal ends the command where it stands. Below `nohup` the end of
    the terminal is none."""
    stop = _Stop()

    def halt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, halt) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@PORT
@JSON
def server(port: int, as_json: bool) -> None:
    """Run the control plane in the foreground: API, console, schedules, and the endpoints it supervises. Ctrl-C stops it cleanly.

    The console's link lets in whoever has it. It is printed on a terminal only; the file `console.url` in the home has it too, for
    the home's owner alone. With --json there is one line, once everything is up.
    """
    made = _yard()
    from modelyard.control.server import Server

    home = Home(default_home())
    owner_of(home, staying=True)  # a command that is just ending is waited for; one that stays is refused below
    with until_stopped() as stop:
        yard = made(home.path, lasts=True)
        try:
            plane = Server(yard, port=port, on_down=stop.set)
            plane.start()
            yard.open()
            yard.resume()
            yard.start_watching()
            _say_ready(home, plane, as_json)
            while not stop.wait(HOME_LOOK):
                if not home.database.exists():
                    yard.shop.target.close()  # its processes end with it, and nothing else is left to keep
                    print("the home is gone", file=sys.stderr, flush=True)
                    os._exit(1)
            if not as_json:
                click.echo("stopping ...")
            plane.stop()
        finally:
            yard.close()


def _say_ready(home: Home, plane: Server, as_json: bool) -> None:
    """Where the console is. What is no terminal may be a log that others read: it is told where the link lies, never the link."""
    if show({"home": str(home.path), "console": plane.address, "login_file": str(home.console)}, as_json):
        return
    where = plane.login if sys.stdout.isatty() else f"{plane.address} (its link: {home.console})"
    click.echo(f"modelyard owns {home.path}\n  console: {where}\n  Ctrl-C or `modelyard down` stops it")


@click.command()
@JSON
def down(as_json: bool) -> None:
    """Stop the control plane and every endpoint. What is unfinished goes on at the next start; nothing is lost."""
    from modelyard.serve import left

    home = Home(default_home())
    remote = owner_of(home)
    if remote is None:
        ended = left.end_all(home.endpoints)
        if not show({"stopped": bool(ended)}, as_json):
            click.echo("no control plane runs; what a killed one had left was stopped" if ended else "nothing runs")
        return
    remote.call("down")
    deadline = time.monotonic() + 60
    while home.locked:
        if time.monotonic() > deadline:
            raise Unavailable("the control plane has not stopped within a minute", where=str(home.path))
        time.sleep(0.05)
    if not show({"stopped": True}, as_json):
        click.echo(f"{click.style('✓', fg='green')} stopped")
