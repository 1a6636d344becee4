"""Alerts: to the journal and the home's alert log always, and to the config's channels."""

from __future__ import annotations

from modelyard.config.spec import AlertKind, Secret
from modelyard.errors import YardError
from modelyard.events import AlertSent
from modelyard.monitor import alerts
from modelyard.workshop import Workshop


def alert(shop: Workshop, model: str, kind: AlertKind, title: str, body: str) -> list[AlertSent]:
    """Tell whom it concerns. At least once: after a crash at the wrong moment an alert may be told again, and never not at all."""
    config = shop.config(model).alerts
    if kind not in config.on:
        return []
    urls, errors = [], []
    for channel in config.to:
        try:
            urls.append(shop.home.secret(channel.secret) if isinstance(channel, Secret) else channel)
        except YardError as exc:
            errors.append(str(exc))
    errors += alerts.send(urls, title, body) if urls else []
    with (shop.home.path / "alerts.log").open("a", encoding="utf-8") as log:
        log.write(f"{shop.clock.now().isoformat(timespec='seconds')} {model} {kind}: {title} | {body}\n")
    return [AlertSent(model, kind, title, len(urls) - len(errors), errors)]
