"""Who owns the home: another process that is asked over its socket, or this one, for as long as its command lasts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from modelyard.cli.options import JSON, PORT, show
from modelyard.control.client import Caller, LocalCaller, RemoteCaller
from modelyard.errors import HomeLocked, Unavailable
from modelyard.home import Home, default_home, user_name

PATIENCE = 15.0
"""Seconds to wait for an owner that is just starting or just ending."""


def owner_of(home: Home) -> RemoteCaller | None:
    """The process that owns the home, if one does. Raises HomeLocked when one does and never answers."""
    remote, deadline = RemoteCaller(home.socket), time.monotonic() + PATIENCE
    while home.locked:
        if remote.alive():
            return remote
        if time.monotonic() > deadline:
            raise HomeLocked(
                "another process owns the home and does not answer", where=str(home.path), next="stop it, or set MODELYARD_HOME"
            )
        time.sleep(0.1)
    return None


@contextmanager
def asking(*, live: bool = False, console: int | None = None) -> Iterator[Caller]:
    """A caller: the owner's, else this process's own yard, to which other terminals may then speak too.

    `live` brings the endpoints up; `console` (a port) shows the console. Both only where this process becomes the owner.
    """
    home = Home(default_home())
    if (remote := owner_of(home)) is not None:
        yield remote
        return
    from modelyard.control.server import Server
    from modelyard.yard import Yard

    yard = Yard(home.path)
    try:
        if live:
            yard.open()
        server = Server(yard, port=console)
        server.start()
        try:
            yield LocalCaller(yard, user_name(), server)
        finally:
            server.stop()
    finally:
        yard.close()


def ensure_server() -> RemoteCaller:
    """The owner of the home, started in the background where there is none."""
    home = Home(default_home())
    if (remote := owner_of(home)) is not None:
        return remote
    with home.server_log.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "modelyard.cli", "server"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "MODELYARD_HOME": str(home.path)},
        )
    remote, deadline = RemoteCaller(home.socket), time.monotonic() + 60
    while not remote.alive():
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unavailable("the control plane could not start in the background", where=str(home.server_log), next="read that log")
        time.sleep(0.05)
    return remote


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM or `modelyard down` sets."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@PORT
def server(port: int) -> None:
    """Run the control plane in the foreground: API, console, schedules, and the endpoints it supervises. Ctrl-C stops it cleanly."""
    from modelyard.control.server import Server
    from modelyard.yard import Yard

    home = Home(default_home())
    with until_stopped() as stop:
        yard = Yard(home.path)
        try:
            plane = Server(yard, port=port, on_down=stop.set)
            plane.start()
            yard.open()
            yard.resume()
            threading.Thread(target=yard.watch, name="schedules", daemon=True).start()
            click.echo(f"modelyard owns {home.path}\n  console: {plane.login}\n  Ctrl-C or `modelyard down` stops it")
            stop.wait()
            click.echo("stopping ...")
            plane.stop()
        finally:
            yard.close()


@click.command()
@JSON
def down(as_json: bool) -> None:
    """Stop the control plane and every endpoint. What is unfinished goes on at the next start; nothing is lost."""
    home = Home(default_home())
    remote = owner_of(home)
    if remote is None:
        if not show({"stopped": False}, as_json):
            click.echo("nothing runs")
        return
    remote.call("down")
    deadline = time.monotonic() + 60
    while home.locked:
        if time.monotonic() > deadline:
            raise Unavailable("the control plane has not stopped within a minute", where=str(home.path))
        time.sleep(0.05)
    if not show({"stopped": True}, as_json):
        click.echo(f"{click.style('✓', fg='green')} stopped")
