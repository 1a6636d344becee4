"""Kill runs with SIGKILL and look at what they do next. Usage: kill.py own|dbos|dbos-tuned [SCRATCH [SCENARIO...]]

Every scenario asserts that its kill fired. The invariant after each: a step that another step followed never begins again (so its receipt
held), only the step that was interrupted does, and the run ends well. Figures are medians; the machine may be shared.
"""

# os and open on purpose: imports are part of what is timed
# ruff: noqa: E501

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINE = sys.argv[1]
SCRATCH = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="durable-"))
SCRIPT = HERE / ("own_run.py" if ENGINE == "own" else "dbos_run.py")
ENV = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | ({"TUNED": "1"} if ENGINE == "dbos-tuned" else {})
NAMES = [f"s{i}" for i in range(1, 9)]
random.seed(7)


class Home:
    def __init__(self, name: str) -> None:
        self.path = SCRATCH / ENGINE / name
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def spawn(self, mode: str = "run", **env) -> subprocess.Popen:
        self.started = time.monotonic()
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.path), mode],
            env=ENV | {k: str(v) for k, v in env.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, **env) -> float:
        """Run to the end; seconds from the process's start to its first sign of life in the log."""
        known = len(self.log())
        p = self.spawn(**env)
        out, err = p.communicate(timeout=90)
        assert p.returncode == 0 and json.loads(out.splitlines()[-1])["status"] in ("done", "SUCCESS"), (
            p.returncode,
            out,
            err[-2000:],
        )
        new = self.log()[known:]
        return new[0][0] - self.started if new else float("nan")

    def killed_at(self, place: str, **env) -> None:
        p = self.spawn(KILL_AT=place, **env)
        p.communicate(timeout=90)
        assert p.returncode == -9 and (self.path / f"killed.{place}").exists(), (place, p.returncode)

    def killed_after(self, seconds: float, **env) -> bool:
        p = self.spawn(**env)
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(seconds)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        return p.returncode == -9  # else it had already ended

    def killed_when(self, word: str, delay: float, **env) -> None:
        p = self.spawn(**env)
        while not any(w.startswith(word) for _, _, w in self.log()):
            assert p.poll() is None, p.communicate()
            time.sleep(0.002)
        time.sleep(delay)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        assert p.returncode == -9

    def log(self) -> list:
        try:
            return [
                (float(t), int(pid), w) for t, pid, w in (x.split(" ", 2) for x in (self.path / "effects.log").read_text().splitlines())
            ]
        except FileNotFoundError:
            return []

    def count(self, word: str) -> int:
        return sum(w.startswith(word) for _, _, w in self.log())

    def check(self, **extra: int) -> None:
        """Each step began once (and as many times more as `extra` says), in order, and none after a later one had begun."""
        begun = [w[6:] for _, _, w in self.log() if w.startswith("begin:")]
        assert begun == sorted(begun), begun
        counts = {n: begun.count(n) for n in NAMES}
        assert counts == {n: 1 + extra.get(n, 0) for n in NAMES}, counts
        if ENGINE == "own":  # receipts and events were one transaction: one event a step, whatever was killed
            db = sqlite3.connect(self.path / "own.sqlite")
            assert sorted(json.loads(b)["name"] for (b,) in db.execute("select body from events")) == NAMES
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)


def boundaries() -> str:
    resumed = []
    for n in NAMES:
        for place in ("middle", "effect", "between"):
            home = Home(f"{place}-{n}")
            home.killed_at(f"{place}:{n}", AUTO_SEND=1)
            seconds = home.finish(AUTO_SEND=1)
            home.check(**({} if place == "between" else {n: 1}))
            resumed.append(seconds)
    home = Home("after-approval")
    home.killed_at("between:approval", AUTO_SEND=1)
    resumed.append(home.finish(AUTO_SEND=1))
    home.check()
    assert home.count("received:") >= 1
    real = [x for x in resumed if x == x]
    return (
        f"25 of 25 kills: only the interrupted step ran again; resumed after median {statistics.median(real):.2f} s, max {max(real):.2f} s"
    )


def ten_kills() -> str:
    trial = Home("ten-trial")  # how long this engine takes to resume here and now: the random kills below are spread around it
    trial.killed_at("middle:s4", AUTO_SEND=1)
    resume_s = trial.finish(AUTO_SEND=1)
    home = Home("ten")
    home.killed_at("middle:s4", AUTO_SEND=1)
    for _ in range(5):
        home.killed_at("middle:s4", AUTO_SEND=1, KILL_ALWAYS=1)
    assert home.count("begin:s4") == 6
    reached = 0
    for _ in range(5):
        before = len(home.log())
        assert home.killed_after(resume_s * random.uniform(0.6, 1.2), AUTO_SEND=1)
        reached += len(home.log()) > before
    home.finish(AUTO_SEND=1)
    begun = [w[6:] for _, _, w in home.log() if w.startswith("begin:")]
    assert [begun.count(n) for n in NAMES[:3]] == [1, 1, 1], begun
    home.check(**{n: begun.count(n) - 1 for n in NAMES[3:]})  # in order: a step may begin again only before a later one has
    return f"10 kills in recovery: converged; 5 inside the step that was run again, 5 around {resume_s:.2f} s, {reached} of them with the run going on"


def random_kills() -> str:
    kills = tries = 0
    while kills < 40:
        home = Home(f"random-{tries}")
        tries += 1
        p_done = False
        while not p_done and kills < 40:
            p_done = not home.killed_after(random.uniform(0.2, 2.5 if ENGINE != "own" else 1.2), AUTO_SEND=1)
            kills += not p_done
        home.finish(AUTO_SEND=1)
        begun = [w for _, _, w in home.log() if w.startswith("begin:")]
        home.check(**{n: begun.count("begin:" + n) - 1 for n in NAMES})
    return f"{kills} kills at random times over {tries} runs: no finished step began again"


def down() -> str:
    home, early = Home("down"), Home("early")
    home.killed_when("waiting", 0.2)
    early.killed_at("middle:s2")
    for h in (home, early):
        p = h.spawn("send")
        assert p.communicate(timeout=60) and p.returncode == 0
        h.finish()
        got = [json.loads(w[9:]) for _, _, w in h.log() if w.startswith("received:")]
        assert got == [{"by": "ann", "ok": True}], got
    seconds = next(t for t, _, w in home.log() if w.startswith("received:")) - home.started
    home.check()
    early.check(s2=1)
    return f"message sent while down, in the wait and before it: delivered once, {seconds:.2f} s after start"


def deadline() -> str:
    home = Home("deadline")
    home.killed_when("waiting", 1.0, WAIT_S=5)
    first = next(t for t, _, w in home.log() if w == "waiting")
    home.finish(WAIT_S=5)
    at, word = next((t, w) for t, _, w in home.log() if w.startswith("received:"))
    assert word == "received:null" and 4.9 < at - first < 6.5, (word, at - first)
    return f"deadline of 5 s, killed at 1 s, restarted: timed out {at - first:.2f} s after the wait began"


def live() -> str:
    waits = []
    for i in range(5):
        home = Home(f"live-{i}")
        home.finish(AUTO_SEND=1, STEP_S=0.001)
        at = {w.split(":")[0]: t for t, _, w in home.log()}
        waits.append((at["received"] - at["sent"]) * 1e3)
    return f"approval in the running process wakes the run after median {statistics.median(waits):.0f} ms (of 5)"


def two_owners() -> str:
    home = Home("two")
    first = home.spawn(AUTO_SEND=1, STEP_S=0.6)
    while not home.count("begin:s2"):
        time.sleep(0.01)
    second = home.spawn(AUTO_SEND=1, STEP_S=0.6)
    codes = [p.wait(90) for p in (first, second)]
    twice = [n for n in NAMES if home.count("begin:" + n) > 1]
    last = second.stderr.read().strip().splitlines()
    return f"a second process on one home: exit {codes}, steps begun twice: {twice or 'none'}; its last line: {(last or ['-'])[-1][:90]}"


if __name__ == "__main__":
    subprocess.run([sys.executable, str(SCRIPT), str(Home("warm").path), "noop", "1"], env=ENV, check=True, capture_output=True)
    for scenario in (boundaries, ten_kills, random_kills, down, deadline, live, two_owners):
        if sys.argv[3:] and scenario.__name__ not in sys.argv[3:]:
            continue
        t = time.monotonic()
        try:
            answer = "ok    " + scenario()
        except AssertionError as e:
            answer = f"FAILED {e!r}"[:400]
        print(f"{ENGINE:10} {scenario.__name__:12} {answer}  [{time.monotonic() - t:.0f} s]", flush=True)
