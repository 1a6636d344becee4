from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from modelyard.monitor import alerts


class Receiver(HTTPServer):
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_alert_arrives(receiver: Receiver) -> None:
    assert alerts.send([f"json://127.0.0.1:{receiver.server_port}"], "flight-delay: drift", "drift: 4 of 11 features moved") == []
    assert [(m["title"], m["message"]) for m in receiver.got] == [("flight-delay: drift", "drift: 4 of 11 features moved")]


def test_a_failure_is_told_without_the_secret_and_the_next_url_is_still_tried(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    address = f"127.0.0.1:{receiver.server_port}"
    receiver.status = 500
    bad = f"json://bob:hunter2@{address}/hooks/s3cr3tpath?+X-Token=t0psecret"
    errors = alerts.send([bad, f"json://{address}"], "title", "body")
    assert len(receiver.got) == 2, "both were really tried"
    assert len(errors) == 2 and all(e.startswith(f"json://{address}/***: ") for e in errors)
    assert "500" in errors[0] or "Internal" in errors[0] or "error" in errors[0].lower()
    for secret in ("hunter2", "s3cr3tpath", "t0psecret", "bob"):
        assert secret not in "".join(errors) + caplog.text


@pytest.mark.parametrize("tone", ["failure", "warning", "success"])
def test_a_channel_is_told_how_bad_it_is(tone: alerts.Tone, receiver: Receiver) -> None:
    assert alerts.send([f"json://127.0.0.1:{receiver.server_port}"], "demo: drift", "body", tone) == []
    assert [m["type"] for m in receiver.got] == [tone]


def test_a_mail_and_a_chat_show_the_lines_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is copied from a mail has to run: Apprise's own HTML would have spaces in it that are none to a shell."""
    from email import message_from_string

    import requests

    mails: list[Message] = []
    posts: list[str] = []

    class Server:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

        def sendmail(self, sender: str, to: Any, text: str) -> dict[str, Any]:
            mails.append(message_from_string(text))
            return {}

    def send(session: Any, request: Any, **_: Any) -> Any:
        posts.append(request.body)
        answer = requests.Response()
        answer.status_code, answer._content = 200, b"ok"
        return answer

    monkeypatch.setattr("smtplib.SMTP", Server)
    monkeypatch.setattr("smtplib.SMTP_SSL", Server)
    monkeypatch.setattr(requests.Session, "send", send)
    lines = ["Moved: DPPL of sex!=M (0.31), age>40 & dep_delay_minutes", "Next: modelyard monitor demo --window 2026-03-02T00:00:00+00:00"]
    urls = ["mailto://bob:secret@example.com", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"]
    assert alerts.send(urls, "demo: drift violated", "\n".join(lines)) == []
    plain, page = (part.get_payload(decode=True).decode() for part in mails[0].walk() if not part.is_multipart())  # type: ignore[union-attr]
    assert [line.strip() for line in plain.splitlines() if line.strip()][-2:] == lines
    assert lines[1] in page and "age&gt;40 &amp; dep_delay_minutes<br" in page and "\xa0" not in page and "&nbsp;" not in page
    assert mails[0]["Subject"] == "demo: drift violated"
    shown = json.loads(posts[0])["attachments"][0]
    assert shown["text"].splitlines() == [line.replace("&", "&amp;").replace(">", "&gt;") for line in lines], "as Slack wants it escaped"


def test_nothing_ever_raises(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    closed = HTTPServer(("127.0.0.1", 0), Handler)
    port = closed.server_port
    closed.server_close()
    urls = [f"json://127.0.0.1:{port}", "nonsense", "", "wat://TOKENTOKEN/x", "slack://TOKENA/TOKENB"]
    errors = alerts.send(urls, "t", "b")
    assert len(errors) == len(urls)
    assert "TOKEN" not in "".join(errors) + caplog.text
    import apprise

    def explode(*_: Any, **__: Any) -> bool:
        raise RuntimeError("TOKENTOKEN")

    monkeypatch.setattr(apprise.Apprise, "notify", explode)
    assert alerts.send([f"json://127.0.0.1:{port}/TOKENTOKEN"], "t", "b") == [f"json://127.0.0.1:{port}/***: RuntimeError"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("slack://TokenA/TokenB/TokenC/#channel", "slack://***"),
        ("jsons://user:pass@hooks.example.com:8443/path?x=y", "jsons://hooks.example.com:8443/***"),
        ("json://user:p@ss@host/path", "json://host/***"),
        ("not a url with a secret", "an alert URL"),
    ],
)
def test_what_of_a_url_is_shown(url: str, shown: str) -> None:
    assert alerts.masked(url) == shown
