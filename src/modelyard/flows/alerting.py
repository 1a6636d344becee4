"""Alerts: to the journal and the home's alert log always, and to the config's channels where `alerts.on` names their kind."""

from __future__ import annotations

import logging
from typing import Any

from modelyard.config.spec import AlertKind, Secret
from modelyard.errors import YardError
from modelyard.events import AlertSent
from modelyard.monitor import alerts
from modelyard.monitor.alerts import Tone
from modelyard.monitor.outbox import Letter
from modelyard.workshop import Workshop

log = logging.getLogger("modelyard")


def alert(shop: Workshop, model: str, kind: AlertKind, title: str, body: str, tone: Tone = "failure") -> list[AlertSent]:
    """Tell whom it concerns, and how bad it is. At least once: after a crash at the wrong moment an alert may be told again, and never not
    at all.

    A channel that fails is tried again later (`resend`); the event says what failed now. What it did not take before goes first, so that
    nobody reads that something is well again before that it was not.
    """
    config = shop.config(model).alerts
    _log(shop, f"{model} {kind}: {title} | {body}")
    sent, errors = 0, []
    for channel in config.to if kind in config.on else ():
        plain = {"secret": channel.secret} if isinstance(channel, Secret) else channel
        try:
            url = _url(shop, plain)
        except YardError as exc:  # nobody but a person can mend that
            errors.append(str(exc))
            continue
        failed = _flushed(shop, model, plain, url) or alerts.send([url], title, body, tone)
        sent, errors = sent + (not failed), errors + failed
        if failed:
            shop.outbox.put(model, kind, plain, title, body, shop.clock.now(), tone)
    return [AlertSent(model, kind, title, sent, errors)]


def _url(shop: Workshop, channel: Any) -> str:
    """The Apprise URL of a channel as the outbox has it. Raises YardError for a secret that is not there."""
    return shop.home.secret(channel["secret"]) if isinstance(channel, dict) else channel


def _flushed(shop: Workshop, model: str, channel: Any, url: str) -> list[str]:
    """Send what a channel did not take before, oldest first, whether its pause is over or not. The first failure, which ends it."""
    for letter in shop.outbox.waiting(model, channel):
        if failed := alerts.send([url], letter.title, letter.body, letter.tone):
            return failed
        _delivered(shop, letter, url)
    return []


def resend(shop: Workshop) -> int:
    """Try again what channels did not take, where its pause is over. Returns how many alerts went out; the alert log has what became of
    each. Never raises for a channel."""
    return sum(_again(shop, letter) for letter in shop.outbox.due(shop.clock.now()))


def _again(shop: Workshop, letter: Letter) -> bool:
    url = ""
    try:
        url = _url(shop, letter.channel)
        failed = alerts.send([url], letter.title, letter.body, letter.tone)
    except YardError as exc:
        failed = [str(exc)]
    if not failed:
        _delivered(shop, letter, url)
        return True
    if not shop.outbox.failed(letter, shop.clock.now()):
        _log(shop, f"{letter.model} {letter.kind}: {letter.title} | given up after {letter.tries + 1} tries: {failed[0]}")
    return False


def _delivered(shop: Workshop, letter: Letter, url: str) -> None:
    shop.outbox.done(letter)
    _log(shop, f"{letter.model} {letter.kind}: {letter.title} | delivered to {alerts.masked(url)} by try {letter.tries + 1}")


def _log(shop: Workshop, text: str) -> None:
    """A line, however many the alert has. A disk that is full keeps nobody from being told."""
    line = f"{shop.clock.now().isoformat(timespec='seconds')} {' | '.join(text.splitlines())}\n"
    try:
        with (shop.home.path / "alerts.log").open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as exc:
        log.error("%s (and alerts.log cannot be written: %s)", line.rstrip(), exc)
