"""A page in headless Chromium: as the console serves it, with its policy, or as a file that somebody was sent."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx

DESKTOP, PHONE = (1280, 900), (500, 900)
"""Sizes of a window; Chromium makes none that is narrower."""
WIDE = re.compile(r'data-wide="(\d+)"')
MEASURE = "<script>document.documentElement.dataset.wide = document.documentElement.scrollWidth</script></body>"


@dataclass(frozen=True)
class Opened:
    """What came of a page: its document after scripts ran, and what the browser complained about."""

    dom: str
    complaints: list[str]

    @property
    def width(self) -> int:
        """How wide the page became, of one that `measured` prepared."""
        found = WIDE.search(self.dom)
        assert found is not None, self.dom[:500]
        return int(found[1])


def opened(url: str, size: tuple[int, int] = DESKTOP, *, dark: bool = False, shot: Path | None = None) -> Opened:
    """Open an address; `shot`: where a picture of it is to lie."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions"]
        words += [f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", "--enable-logging=stderr", "--v=0"]
        words += ["--blink-settings=preferredColorScheme=0"] if dark else []
        words += [f"--screenshot={shot}"] if shot else ["--dump-dom"]
        done = subprocess.run([*words, url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return Opened(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def measured(html: str, folder: Path) -> str:
    """A page as a file that says how wide it becomes; its own policy, which would forbid that, is taken out."""
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    file = folder / "page.html"
    file.write_text(free.replace("</body>", MEASURE), encoding="utf-8")
    return file.as_uri()


@contextmanager
def signed_in(client: httpx.Client) -> Iterator[str]:
    """An address at which a browser sees what `client` may see, headers included."""

    class Passing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = client.get(self.path)
            self.send_response(answer.status_code)
            for name in ("content-type", "content-security-policy", "location"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
