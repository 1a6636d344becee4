"""The console: pages for people, made on the server from what the yard says. They show; whoever wants to act is given the command.

Every value is escaped by the template, and a page may run one script of ours (known to the browser by its hash) and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Coroutine
from functools import lru_cache
from importlib import resources
from typing import Any

import jinja2
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from markupsafe import Markup

from modelyard.config.spec import Stage
from modelyard.control import pages, trying
from modelyard.control.watched import Reports
from modelyard.errors import BadInput, YardError
from modelyard.quality import comparison_page
from modelyard.quality import report as card
from modelyard.yard import Yard

REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
)
"""What a report may do: look like something. It carries its own styles and pictures, runs no script and asks for nothing."""


def mount(app: FastAPI, yard: Yard) -> None:
    """Add the console's pages. Who may see them is the app's matter."""
    router, windows = APIRouter(route_class=_Page, include_in_schema=False), Reports(yard)

    @router.get("/")
    def fleet(request: Request, model: str = "") -> HTMLResponse:
        return _page("fleet", pages.fleet(yard, model or None), request)

    @router.get("/models/{model}")
    def one(request: Request, model: str) -> HTMLResponse:
        return _page("model", pages.one(yard, model), request)

    @router.get("/models/{model}/timeline")
    def over_time(request: Request, model: str, since: str = "", until: str = "", metric: str = "") -> HTMLResponse:
        return _page("timeline", pages.over_time(yard, model, since, until, metric), request)

    @router.get("/models/{model}/windows/{start}/{end}")
    def window(model: str, start: str, end: str) -> HTMLResponse:
        return HTMLResponse(windows.page(model, start, end), headers={"Content-Security-Policy": REPORT_POLICY})

    @router.get("/models/{model}/try")
    def trial(request: Request, model: str, stage: Stage = "production") -> HTMLResponse:
        return _page("try", trying.page(yard, model, stage), request)

    @router.post("/models/{model}/try")
    async def tried(request: Request, model: str, stage: Stage = "production") -> HTMLResponse:
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > trying.LONGEST:
            raise BadInput("the form is too large, or does not say how large it is")
        body = await request.body()
        return _page("try", await to_thread.run_sync(trying.asked, yard, model, stage, body), request)

    @router.get("/reports/{model}/{version}")
    def report(model: str, version: str) -> HTMLResponse:
        return HTMLResponse(card.render(yard.report(model, version)), headers={"Content-Security-Policy": REPORT_POLICY})

    @router.get("/replays/{model}/{version}")
    def replay(model: str, version: str) -> HTMLResponse:
        return HTMLResponse(comparison_page.render(yard.replayed(model, version)), headers={"Content-Security-Policy": REPORT_POLICY})

    app.include_router(router)


def error(exc: YardError, status: int) -> HTMLResponse:
    """An error as a page: what, where, and what to do next."""
    shown = {"title": exc.what, "status": status, "what": exc.what, "where": exc.where, "next": exc.next}
    return HTMLResponse(_templates().get_template("error.html.j2").render(shown), status, _headers())


class _Page(APIRoute):
    """A route whose YardErrors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        following = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await following(request)
            except YardError as exc:
                return error(exc, exc.http_status)

        return handler


def _page(name: str, values: dict[str, Any], request: Request) -> HTMLResponse:
    script = Markup(_script())  # noqa: S704 - a file of ours
    template = _templates().get_template(f"{name}.html.j2")
    return HTMLResponse(template.render(values, by=request.state.by, script=script), headers=_headers())


def _headers() -> dict[str, str]:
    return {"Content-Security-Policy": _policy()}


@lru_cache(maxsize=1)
def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


@lru_cache(maxsize=1)
def _script() -> str:
    return resources.files("modelyard.control").joinpath("templates/live.js").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelyard.control"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["ticked"] = _ticked
    return environment


def _ticked(text: str) -> Markup:
    """Text in which `such words` are commands and names; all of it escaped."""
    plain, code = Markup("{}"), Markup("<code>{}</code>")
    return Markup("").join((code if i % 2 else plain).format(part) for i, part in enumerate(text.split("`")))


def _shown(value: Any) -> Any:
    """Markup of ours as it is; everything else as text that any page can hold, which the template then escapes."""
    if hasattr(value, "__html__"):
        return value
    raw = "—" if value is None else str(value)
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in raw)
