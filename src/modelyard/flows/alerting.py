"""Alerts: to the journal and the home's alert log always, and to the config's channels where `alerts.on` names their kind."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.config.spec import AlertKind, Secret
from modelyard.errors import YardError
from modelyard.events import AlertSent
from modelyard.monitor import alerts
from modelyard.workshop import Workshop


def alert(shop: Workshop, model: str, kind: AlertKind, title: str, body: str) -> list[AlertSent]:
    """Tell whom it concerns. At least once: after a crash at the wrong moment an alert may be told again, and never not at all."""
    config = shop.config(model).alerts
    with (shop.home.path / "alerts.log").open("a", encoding="utf-8") as log:
        log.write(f"{shop.clock.now().isoformat(timespec='seconds')} {model} {kind}: {title} | {body}\n")
    urls, unknown = _urls(shop, config.to) if kind in config.on else ([], [])
    failed = alerts.send(urls, title, body) if urls else []
    return [AlertSent(model, kind, title, len(urls) - len(failed), [*unknown, *failed])]


def _urls(shop: Workshop, channels: Iterable[str | Secret]) -> tuple[list[str], list[str]]:
    """The channels' URLs, and a sentence for each whose secret is not there."""
    urls, unknown = [], []
    for channel in channels:
        try:
            urls.append(shop.home.secret(channel.secret) if isinstance(channel, Secret) else channel)
        except YardError as exc:
            unknown.append(str(exc))
    return urls, unknown
