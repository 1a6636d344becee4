"""Regular expressions that take hours over a line: what they cost is bounded, and all others match as `re` has it."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.build import metrics, searcher
from modelyard.build.searching import GIVEN_UP, LOST, SLOW, Searching
from tests.build.test_processes import alive, until

AMAZONS = [
    *(rf".*\[[0-9]+\].*#011validation-{name}:(\S+)" for name in ("auc", "rmse", "mlogloss", "f1")),  # XGBoost's
    r".*\[[0-9]+\].*#011train-auc:([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?).*",
    r".*\[.*\]#011validation-rmse:([0-9\.]+).*",
    r"#quality_metric: host=\S+, test dcg <score>=(\S+)",  # the linear learner's
    r"#quality_metric: host=\S+, test binary_f_\S+ <score>=(\S+)",
    r"#quality_metric: host=\S+, epoch=\S+, train \S+_objective <loss>=(\S+)",
    r"#quality_metric: host=\S+, epoch=\S+, batch=\S+ train binary_classification_accuracy <score>=(\S+)",
    r"#progress_metric: host=\S+, completed (\S+) %",
    r"#quality_metric: host=\S+, test msd <loss>=(\S+)",  # k-means'
    r"#quality_metric: host=\S+, validation mAP <score>=\((\S+)\)",  # object detection's
    r"Epoch\S* Validation-accuracy=(\S+)",
    r"loss: ([0-9]*\.?[0-9]+)",
    r"(?<=val_)loss=((?:nan|[-+0-9.e]+))(?!\d)",
    r"(?i)ACC(?:URACY)?\s*[:=]\s*([0-9.]+)\s?%?$",
]
PIECES = [
    *(
        "[0]",
        "[12]",
        "#011",
        "validation-auc:",
        "validation-rmse:",
        "train-auc:",
        "0.5",
        "1e-05",
        "nan",
        "-1.",
        "\t",
        " ",
        "  ",
        "%",
        "\x1c",
        "é",
    ),
    *("#quality_metric: ", "#progress_metric: ", "host=algo-1, ", "epoch=3, ", "batch=7 ", "test ", "train ", "dcg ", "msd ", "completed "),
    *("<score>=", "<loss>=", "binary_f_beta ", "binary_classification_accuracy ", "logistic_objective ", "(0.25)", "mAP ", "validation "),
    *("Epoch[4] ", "Validation-accuracy=", "loss: ", "val_loss=", "acc = ", "Accuracy: ", "{'loss': 0.25}", "\n", "\r", "]", "["),
]
CUBIC, LONG = AMAZONS[0], "[1] " * 2000
"""Over a line of 8,000 characters it takes `re` about half a minute."""
MORE = [
    (r"(?:a|aa)+=([0-9])", "a" * 200 + "=x1"),
    (r"(?:(?:a*)*)*=([0-9])", "a" * 8000 + "=x"),
    (r"(.+)\1+=[0-9]", "ab" * 4000 + "=x"),
    (r"(?=(?:a+)+b)?([0-9])", "a" * 80 + "z"),
    (r"(?:(?:a?){50}){50}([0-9])", "a" * 8000 + "=b"),
    (r".*.*.*x([0-9])", "a" * 8000),
]


@pytest.fixture(scope="module")
def amazons() -> Iterator[Searching]:
    searching = Searching(AMAZONS)
    yield searching
    searching.close()


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map("".join))
@example("[3]#011train-auc:0.91#011validation-auc:0.881#011validation-rmse:0.2")
@example("#quality_metric: host=algo-1, epoch=3, batch=7 train binary_classification_accuracy <score>=0.93")
@example("x\x1c acc\x1d=\x1e0.5")
def test_what_matches_is_what_re_matches(amazons: Searching, line: str) -> None:
    for text, otherwise in ((line, None), ("[algo-1] ", line)):
        found = [re.search(regex, text) or (re.search(regex, otherwise) if otherwise is not None else None) for regex in AMAZONS]
        assert amazons(text, otherwise) == [match and match[1] for match in found]


@pytest.mark.parametrize(("regex", "line"), [(CUBIC, LONG), *MORE])
def test_a_line_that_takes_for_ever_is_left_out(regex: str, line: str) -> None:
    searching = Searching([regex, "([0-9])"])
    try:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        assert searching(line)[0] == SLOW
        match = re.search(regex, "y=3")
        assert searching("y=3") == [match and match[1], "3"], "it goes on with the next"
    finally:
        searching.close()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert spent < 4 * searcher.LINE, "processor time of the process that searches, once it has ended"


def test_what_takes_too_long_too_often_is_given_up_and_all_else_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert searcher.ALL == 20 * searcher.LINE
    monkeypatch.setattr(searcher, "ALL", 1.0)
    said: list[str] = []
    reader = metrics.Reader([("loss", r"loss=([0-9.]+)"), ("auc", CUBIC)], tell=said.append)
    lines = int(searcher.ALL / searcher.LINE) + 3
    try:
        assert [r.name for r in reader.read("[1]#011validation-auc:0.5 loss=1")] == ["loss", "auc"]
        for number in range(lines):
            assert [(r.name, r.value) for r in reader.read(f"{LONG} loss={number}")] == [("loss", number)]
        assert [r.name for r in reader.read("[1]#011validation-auc:0.5")] == [], "given up"
    finally:
        reader.close()
    first, last = said
    assert first.startswith(
        "the metric `auc` is not read off line 2 of the log: its regular expression (train.metric_definitions[1].regex) takes"
    )
    assert "over 0.25 s for its 8,007 characters. It is fast without" in first
    assert re.match(r"the metric `auc` is not read from line \d+ of the log on: .* has taken over 1 s in all. It is fast without", last)


def test_a_process_that_is_gone_is_told_of_and_ends_nothing() -> None:
    said: list[str] = []
    reader = metrics.Reader([("loss", r"loss=([0-9.]+)")], tell=said.append)
    assert reader._searching is not None
    os.kill(reader._searching._process.pid, signal.SIGKILL)
    assert [reader.read("loss=1"), reader.read("loss=2")] == [[], []]
    assert len(said) == 1 and "`loss` is not read from line 1 of the log on: the process that looks for" in said[0]
    assert reader._searching("loss=1") == [LOST]
    reader.close()


def test_threads_get_their_own_answers() -> None:
    searching, wrong = Searching([r"([0-9]+)"]), list[object]()

    def ask(first: int) -> None:
        for number in range(first, first + 200):
            if (found := searching(f"x{number}" * (number % 50 + 1))) != [str(number)]:
                wrong.append((number, found))

    threads = [threading.Thread(target=ask, args=(1000 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    searching.close()
    assert wrong == []


def test_it_ends_with_an_owner_that_is_killed_in_the_middle_of_a_search() -> None:
    script = f"""
from modelyard.build.searching import Searching
searching = Searching([{CUBIC!r}] * 400)
print(searching._process.pid, flush=True)
while True:
    searching({LONG!r})
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "R")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until(lambda: not alive(pid))


def test_it_ends_with_whoever_asks() -> None:
    searching = Searching(["(x)"])
    process = searching._process
    del searching
    assert process.poll() is not None, "also where nobody has closed it"
    assert GIVEN_UP not in (SLOW, LOST)
