"""Who may ask the control plane, and how it refuses: over real sockets, for every route there is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from modelyard.control.app import OPEN, create_app
from modelyard.control.verbs import VERBS
from modelyard.home import user_name
from tests.control.yards import Plane, accept, plane


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with plane(tmp_path_factory.mktemp("h")) as it:
        accept(it.yard, "flights")
        yield it


def routes(served: Plane) -> list[tuple[str, str]]:
    """Every method and path that the app answers, places filled in."""
    app = create_app(served.yard, "token", 0, lambda: None)
    found: list[tuple[str, str]] = []
    waiting: list[Any] = list(app.routes)
    while waiting:
        route = waiting.pop()
        for method in getattr(route, "methods", None) or ():
            found.append((method, route.path.replace("{model}", "flights").replace("{version}", "1").replace("{run}", "up-flights")))
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        waiting += getattr(inner, "routes", [])
    return sorted(set(found))


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error, after a look at its shape."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) >= {"code", "what", "where", "next"}
    return dict(body["error"])


def test_the_list_of_routes_is_whole(served: Plane) -> None:
    found = routes(served)
    assert {("POST", f"/api/v1/{name}") for name in VERBS} <= set(found)
    assert {("GET", "/"), ("GET", "/models/flights"), ("GET", "/reports/flights/1"), ("GET", "/api/v1/openapi.json")} <= set(found)
    assert {path for _, path in found} >= OPEN


def test_no_route_but_the_open_ones_answers_a_stranger(served: Plane) -> None:
    for method, path in routes(served):
        response = served.anonymous.request(method, path)
        if path == "/healthz":
            assert response.status_code == 200
            continue
        assert response.status_code == 401, f"{method} {path}"
        if method != "HEAD":
            assert error_of(response)["code"] == "not_allowed"


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "//", "/healthz/", "/login/x", "/%2e%2e/healthz", "/api/v1/../healthz"])
def test_a_stranger_does_not_even_learn_what_exists(served: Plane, path: str) -> None:
    assert served.anonymous.get(path).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {token}"},
        {"Authorization": "{token}"},
        {"Authorization": "Bearer {token}x"},
        {"Authorization": "Bearer gr\u00fc\u00df"},
        {"Cookie": "modelyard="},
        {"Cookie": "modelyard=wrong"},
        {"Cookie": "other={token}"},
        {"Cookie": "modelyard={token}"},
        {"Cookie": "modelyard_{port}={token}"},
    ],
)
def test_wrong_tokens(served: Plane, headers: dict[str, str]) -> None:
    sent = {name: value.format(token=served.server.token, port=port_of(served)).encode() for name, value in headers.items()}
    assert served.anonymous.get("/", headers=sent).status_code == 401
    assert served.anonymous.post("/api/v1/status", json={}, headers=sent).status_code == 401


def test_the_token_lets_in_as_bearer_and_as_cookie(served: Plane) -> None:
    token = served.server.token
    for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": f"bearer {token}"}, {"Cookie": session(served)}):
        assert served.anonymous.get("/", headers=headers).status_code == 200
        assert served.anonymous.post("/api/v1/status", json={}, headers=headers).json()[0]["model"] == "flights"


def test_the_cookie_is_not_the_token_and_is_named_by_the_port(served: Plane) -> None:
    name, value = session(served).split("=", 1)
    assert name == f"modelyard_{port_of(served)}"
    assert len(value) >= 40 and served.server.token not in value
    assert session(served) == f"{name}={value}", "the link is good for the life of the process"
    everything = b"".join(p.read_bytes() for p in served.yard.home.path.rglob("*") if p.is_file())
    assert value.encode() not in everything, "a session lives in memory alone"


def test_a_restart_renews_the_token(home: Path) -> None:
    tokens = []
    for _ in range(2):
        with plane(home) as served:
            tokens.append(served.server.token)
            file = home / "console.token"
            assert (file.read_text(), file.stat().st_mode & 0o777) == (served.server.token, 0o600)
            assert served.yard.home.console.stat().st_mode & 0o777 == 0o600
            file.chmod(0o644)  # as an older release, or somebody, may have left it
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize(("mode", "socket"), [(0o700, 0o600), (0o755, 0o600), (0o750, 0o600), (0o770, 0o660), (0o775, 0o660)])
def test_the_socket_is_open_to_a_group_only_where_the_group_may_write_to_the_home(home: Path, mode: int, socket: int) -> None:
    home.chmod(mode)
    with plane(home) as served:
        assert served.yard.home.socket.stat().st_mode & 0o777 == socket
        assert home.stat().st_mode & 0o777 == mode, "what the home allows is its owner's matter"


def test_watchers_who_came_and_left_hold_up_nobody(served: Plane) -> None:
    """Sixty watch a run that waits, more than there are threads for requests; and sixty more while the first are still there."""
    ended = threading.Event()
    served.yard._flows["up"] = lambda run: str(ended.wait(60))
    record = served.yard.shop.runs.start("flights", "up", {}, by="ana")
    served.yard._going.launch(record)
    served.yard.shop.runs.feed(record.id).put("waiting", topic="a word")
    try:
        gone, there = (watching(served, record.id, 60) for _ in range(2))
        for peer in gone:
            peer.close()
        assert served.anonymous.get("/healthz", timeout=5).status_code == 200
        assert served.web.post("/api/v1/status", json={}, timeout=5).status_code == 200
    finally:
        ended.set()
    served.yard.wait(record.id, 10)
    for peer in there:
        said = b""
        while chunk := peer.recv(65536):
            said += chunk
        assert b'"kind": "ended"' in said, "whoever stayed sees the end"


def watching(served: Plane, run: str, count: int) -> list[socket.socket]:
    """Connections that have seen the first item of a run's feed."""
    peers = []
    for _ in range(count):
        peer = socket.create_connection(("127.0.0.1", port_of(served)), timeout=10)
        token = f"Authorization: Bearer {served.server.token}\r\nConnection: close"
        peer.sendall(f"GET /api/v1/runs/{run}/feed HTTP/1.1\r\nHost: localhost\r\n{token}\r\n\r\n".encode())
        peers.append(peer)
    for peer in peers:
        said = b""
        while b'"waiting"' not in said:
            said += (chunk := peer.recv(4096))
            assert chunk, said
    return peers


def port_of(served: Plane) -> int:
    return int(served.server.address.rpartition(":")[2])


def session(served: Plane) -> str:
    """What the link has a browser send from then on."""
    return str(httpx.get(served.server.login).headers["set-cookie"].partition(";")[0])


def test_the_link_sets_a_cookie_that_no_script_and_no_other_site_can_use(served: Plane) -> None:
    with httpx.Client() as browser:
        answer = browser.get(served.server.login)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "samesite=strict"} <= attributes
        assert browser.get(f"{served.server.address}/").status_code == 200


@pytest.mark.parametrize("query", ["", "?token_given=", "?token_given=wrong", "?token_given=%00", "?token_given=gr%C3%BC%C3%9F"])
def test_a_wrong_link_sets_none(served: Plane, query: str) -> None:
    answer = served.anonymous.get(f"/login{query}")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "modelyard server" in error_of(answer)["next"]


def test_the_token_is_the_owners_alone(served: Plane) -> None:
    file = served.yard.home.path / "console.token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(served.server.token) >= 40


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:8640", "", "[::2]:80"]
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(served: Plane, host: str) -> None:
    response = served.web.get("/", headers={"Host": host})
    assert response.status_code in (400, 401, 403)
    response = served.web.get("/healthz", headers={"Host": host})
    assert response.status_code in (400, 401, 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "http://["])
def test_other_sites_are_refused_even_with_the_token(served: Plane, origin: str) -> None:
    response = served.web.post("/api/v1/status", json={}, headers={"Origin": origin})
    assert response.status_code == 403
    assert error_of(response)["code"] == "forbidden"


def test_the_consoles_own_origin_is_let_in(served: Plane) -> None:
    assert served.web.post("/api/v1/status", json={}, headers={"Origin": served.server.address}).status_code == 200


def test_every_answer_forbids_keeping_framing_and_guessing(served: Plane) -> None:
    for response in (
        served.web.get("/"),
        served.anonymous.get("/"),
        served.web.get("/nothing"),
        served.web.post("/api/v1/status", json={}),
    ):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers


def test_a_browser_is_refused_with_a_page_and_a_program_with_json(served: Plane) -> None:
    page = served.anonymous.get("/", headers={"Accept": "text/html,*/*"})
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert "modelyard server" in page.text
    program = served.anonymous.post("/api/v1/status", headers={"Accept": "text/html,*/*"})
    assert program.headers["content-type"] == "application/json"


def test_unknown_verbs_and_wrong_methods(served: Plane) -> None:
    unknown = served.web.post("/api/v1/destroy", json={})
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "not_found")
    wrong = served.web.get("/api/v1/status")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert error_of(wrong)["code"] == "bad_input"


@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("status", {"model": "flights", "colour": "red"}, "colour"),
        ("status", {"model": 7}, "model"),
        ("approve", {}, "model"),
        ("deploy", {"model": "flights", "stage": "moon"}, "stage"),
        ("status", [], ""),
    ],
)
def test_words_that_do_not_fit_are_400(served: Plane, verb: str, body: Any, says: str) -> None:
    response = served.web.post(f"/api/v1/{verb}", json=body)
    assert response.status_code == 400
    assert says in error_of(response)["what"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"model": NaN}'])
def test_bodies_that_are_no_json_are_400(served: Plane, body: bytes) -> None:
    response = served.web.post("/api/v1/journal", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    error_of(response)


def test_the_yards_own_errors_keep_their_status_and_say_what_to_do(served: Plane) -> None:
    response = served.web.post("/api/v1/status", json={"model": "flihgts"})
    assert response.status_code == 404
    assert error_of(response) == {
        "code": "not_found",
        "what": "there is no model `flihgts`",
        "where": "",
        "next": "did you mean `flights`?",
    }
    assert served.web.get("/api/v1/runs/nothing/feed").status_code == 404


def test_a_peer_at_the_socket_needs_no_token_and_is_known_by_the_kernel(served: Plane) -> None:
    with served.local as local:
        assert local.post("/api/v1/status", json={}).status_code == 200
        page = local.get("/", headers={"Host": "anything"})
        assert f"seen by {user_name()}" in page.text


def test_only_the_owner_stops_it(home: Path) -> None:
    stopped = threading.Event()
    with plane(home, on_down=stopped.set) as served, served.local as local:
        assert local.post("/api/v1/down").json() == {"stopping": True}
        assert stopped.is_set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_another_user_at_the_socket_is_themselves_and_may_not_read_files_as_the_owner(home: Path) -> None:
    """A home that its owner opened to others: they may look and approve, in their own name, and nothing else."""
    stopped = threading.Event()
    with plane(home, on_down=stopped.set) as served:
        accept(served.yard, "flights")
        home.chmod(0o711)
        served.yard.home.socket.chmod(0o666)
        asked = [
            ("GET", "/", None),
            ("POST", "/api/v1/plan", {"config": "/etc/shadow"}),
            ("POST", "/api/v1/down", {}),
            ("POST", "/api/v1/status", {}),
        ]
        script = (
            "import http.client, json, os, socket, sys\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "for method, path, body in json.loads(sys.argv[2]):\n"
            "    c = http.client.HTTPConnection('localhost')\n"
            "    c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n"
            "    c.request(method, path, json.dumps(body), {'Content-Type': 'application/json'})\n"
            "    r = c.getresponse(); print(json.dumps([r.status, r.read().decode()]))\n"
        )
        command = [sys.executable, "-c", script, str(served.yard.home.socket), json.dumps(asked)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        page, plan, down, status = (json.loads(line) for line in done.stdout.splitlines())
    assert page[0] == 200
    assert f"seen by {user_name(65534)}" in page[1]
    assert (plan[0], down[0], status[0]) == (403, 403, 200)
    assert not stopped.is_set()


def test_the_api_describes_its_verbs_and_not_the_pages(served: Plane) -> None:
    paths = served.web.get("/api/v1/openapi.json").json()["paths"]
    assert {f"/api/v1/{name}" for name in VERBS} <= set(paths)
    assert not {"/", "/models/{model}"} & set(paths)
    app = create_app(served.yard, "token", 0, lambda: None)
    assert all(isinstance(r, APIRoute) for r in app.routes if getattr(r, "path", "") in {f"/api/v1/{n}" for n in VERBS})
