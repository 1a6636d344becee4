"""Sends alerts by Apprise. An alert that cannot be sent is an error to report, never a reason to stop."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal
from urllib.parse import unquote

# Schemes whose host is an address; with others (slack, discord, ...) a token stands in its place.
_ADDRESSED = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})

_MAIL = ("mailto://", "mailtos://")
Tone = Literal["failure", "warning", "success"]
"""How bad it is, which channels show by a colour or a sign: violated or failed; not well, or not known; well again. Apprise's words."""


def send(urls: Sequence[str], title: str, body: str, tone: Tone = "failure") -> list[str]:
    """Send to each Apprise URL; returns a sentence for each that failed, without the URL's secret parts. Never raises."""
    return [error for url in urls if (error := _send(url, title, body, tone)) is not None]


def masked(url: str) -> str:
    """As much of an Apprise URL as may be shown: its scheme and, where that is no secret, host and port."""
    scheme, found, rest = url.partition("://")
    if not found or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return "an alert URL"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2] if scheme.lower() in _ADDRESSED else ""
    return f"{scheme}://{host}{'/' if host else ''}***"


def _send(url: str, title: str, body: str, tone: Tone) -> str | None:
    try:
        import apprise

        channel = apprise.Apprise()
        with _said() as lines:
            if not channel.add(url):
                return f"{masked(url)}: Apprise does not know this kind of URL, or it is incomplete"
            text, kind = (_page(body), "html") if url.lower().startswith(_MAIL) else (body, "text")
            if channel.notify(body=text, title=title, notify_type=apprise.NotifyType(tone), body_format=apprise.NotifyFormat(kind)):
                return None
        why = _without_secrets(lines[-1], url) if lines else "not delivered"
        return f"{masked(url)}: {why}"
    except Exception as exc:  # whatever a plug-in raises must not end a monitor
        return f"{masked(url)}: {type(exc).__name__}"


def _page(body: str) -> str:
    """The lines for a mail of HTML. Apprise's own makes each space one that does not break, which no terminal takes for a space."""
    return "<br>\n".join(html.escape(line) for line in body.splitlines())


def _without_secrets(message: str, url: str) -> str:
    parts = {p for text in (url, unquote(url)) for p in re.split(r"[/:@?&=+,#]+", text.partition("://")[2]) if len(p) > 2}
    for part in sorted(parts, key=len, reverse=True):
        message = message.replace(part, "***")
    return message.strip().rstrip(".")


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Apprise logs as warnings and errors: the only place where it says why."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, keep = logging.getLogger("apprise"), Keep(logging.WARNING)
    propagate = logger.propagate
    logger.addHandler(keep)
    logger.propagate = False  # its own messages may hold what we mask
    try:
        yield lines
    finally:
        logger.removeHandler(keep)
        logger.propagate = propagate
