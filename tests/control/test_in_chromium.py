"""The timeline, the model's page and the report of a window in a real browser: at a desk and on a phone, by day and by night."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.clock import ReplayClock
from modelyard.quality import window
from tests.control.chromium import DESKTOP, PHONE, measured, opened, signed_in
from tests.control.test_timeline import DAYS, START, TIMELINE, a_history
from tests.control.yards import Plane, plane
from tests.needs import needs_chromium
from tests.quality.watched_windows import document

pytestmark = [needs_chromium, pytest.mark.slow]
WINDOW = "/models/flights/windows/20260311T000000Z/20260312T000000Z"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    home, clock = Path(tempfile.mkdtemp(prefix="yard-")), ReplayClock(START)
    with plane(home, clock) as it:
        a_history(it.yard, clock)
        yield it
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (TIMELINE, ("flights over time", "2026-03-11 .. 2026-03-12", 'class="measured-line"', "canary passed")),
        ("/models/flights", ("Timeline", 'href="/models/flights/timeline"', 'class="violated"')),
        (WINDOW, ("Window report", "Violated: 2 of 3 verdicts", "0.6800 to 0.7200")),
    ],
)
def test_a_browser_shows_it_and_complains_of_nothing(served: Plane, path: str, words: tuple[str, ...]) -> None:
    """Under the console's own policy: a style, picture or script that it forbids would be complained of."""
    with signed_in(served.web) as address:
        page = opened(f"{address}{path}")
    assert page.complaints == []
    for said in words:
        assert said in page.dom, said


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("path", [TIMELINE, "/models/flights", WINDOW])
def test_no_page_is_wider_than_its_window(served: Plane, tmp_path: Path, path: str, size: tuple[int, int]) -> None:
    page = opened(measured(served.web.get(path).text, tmp_path), size)
    assert page.width <= size[0]


def test_a_report_of_two_hundred_features_is_drawn_at_both_sizes(tmp_path: Path) -> None:
    html = window.render(document(200))
    assert len(html.encode()) < 2_000_000
    for size in (DESKTOP, PHONE):
        page = opened(measured(html, tmp_path), size)
        assert page.width <= size[0] and page.complaints == []
        assert page.dom.count("<figure") >= 40 and "amount_198" in page.dom


def test_by_night_it_is_dark(tmp_path: Path) -> None:
    """The colours are the reader's: the same page has another ground and another ink."""
    html = window.render(document())
    ask = "<script>document.documentElement.dataset.ground = getComputedStyle(document.body).backgroundColor</script></body>"
    file = Path(measured(html, tmp_path).removeprefix("file://"))
    file.write_text(file.read_text().replace("</body>", ask))
    grounds = [opened(file.as_uri(), dark=dark).dom.partition('data-ground="')[2].partition('"')[0] for dark in (False, True)]
    assert grounds == ["rgb(245, 246, 248)", "rgb(15, 19, 26)"]


def test_what_is_forbidden_or_too_wide_would_be_seen(tmp_path: Path) -> None:
    """The two things that the tests above rely on."""
    file = tmp_path / "bad.html"
    file.write_text("<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script>1</script><p style='color: red'>")
    assert len(opened(file.as_uri()).complaints) == 2
    assert opened(measured("<html><body><div style='width: 2000px'>x</div></body></html>", tmp_path)).width >= 2000


def test_a_cell_leads_to_its_window(served: Plane) -> None:
    """Each link of the timeline that a browser has found is a page."""
    with signed_in(served.web) as address:
        dom = opened(f"{address}{TIMELINE}").dom
    links = sorted(set(re.findall(r'href="(/models/flights/windows/[^"]+)"', dom)))
    assert len(links) == DAYS
    assert {served.web.get(link).status_code for link in links} == {200}
