"""What all tests share: order, isolation from the person's own home, components of the system, PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.needs import MISSING, postgres_bin, postgres_missing

ROOT = Path(__file__).parent.parent

# No test passes or fails by time. CI draws the same examples every time, so that a red run can be had again.
settings.register_profile("default", deadline=None)
# How fast a machine draws, and what the modules loaded so far lend to the draws, says nothing of what is tested.
CHANCE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=CHANCE)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


def pytest_configure(config: pytest.Config) -> None:
    """No test, and no process that a test starts, ever sees the person's own home."""
    os.environ["MODELYARD_HOME"] = tempfile.mkdtemp(prefix="modelyard-tests-")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    config.add_cleanup(lambda: shutil.rmtree(os.environ["MODELYARD_HOME"], ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, in the order of the tree; slow ones last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require(MISSING[mark.args[0]]())


def require(reason: str) -> None:
    """Go on where `reason` is empty; else skip, and fail in CI, where everything was to be installed."""
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"in CI nothing may be missing: {reason}", pytrace=False)
    elif reason:
        pytest.skip(reason)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home with a short path: a Unix socket's path holds 107 bytes, and pytest's own folders eat most of them."""
    folder = Path(tempfile.mkdtemp(prefix="yard-"))
    yield folder
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)  # snapshots and bundles are read-only
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of an empty PostgreSQL of this run's own, on a Unix socket in a folder of its own."""
    require(postgres_missing())
    tools, folder = postgres_bin() or Path(), Path(tempfile.mkdtemp(prefix="yard-pg-"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # the server refuses to run as root
    shutil.chown(folder, user)
    data, log = str(folder / "data"), folder / "log"

    def run(tool: str, *arguments: str) -> None:
        with log.open("a") as output:  # a file and no pipe: the server keeps it open
            command = [str(tools / tool), "-D", data, *arguments]
            done = subprocess.run(command, user=user, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        assert done.returncode == 0, log.read_text()

    run("initdb", "-A", "trust", "-U", "yard", "-E", "UTF8", "--no-sync")
    run("pg_ctl", "-w", "-o", f"-k {folder} -c listen_addresses='' -c fsync=off", "start")
    yield f"postgresql://yard@/postgres?host={folder}"
    run("pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)
