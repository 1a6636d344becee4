"""Locks: exact versions, by name alone, and the same ones until somebody asks anew."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import envs, installer, locks, pythons, requirements
from modelyard.errors import BadInput, NotFound, StepFailed
from tests.build.wheels import wheel

HEAD = f"# Python {pythons.own().minor}, {pythons.own().system} {pythons.own().machine}\n"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


def lock(folder: Path, text: str, home: Path, **options: Any) -> str:
    path = folder / options.pop("name", "requirements.txt")
    path.write_text(text)
    return locks.lock(path, "custom", home, **options).text


@pytest.mark.usefixtures("index")
def test_a_lock_pins_all_and_names_no_index(index: Path, repo: Path, home: Path) -> None:
    (repo / "more.txt").write_text("gamma ; python_version >= '3'\nno-such-package ; python_version < '3'\n")
    (repo / "constraints.txt").write_text("beta<3\n")
    wanted = f"# models need this\n--find-links {index}\nalpha<2  # the old one\n-r more.txt\n-c constraints.txt\n"
    assert lock(repo, wanted, home) == f"{HEAD}alpha==1.0\nbeta==2.5\ngamma==1.0\n"
    assert lock(repo, "alpha[more]\n", home) == f"{HEAD}alpha==2.0\nbeta==2.5\ngamma==1.0\n"


@pytest.mark.usefixtures("index")
def test_requirements_beside_a_script_are_locked_with_what_its_framework_needs(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(locks.DEFAULTS, "custom", "beta<2\n")
    (repo / "requirements.txt").write_text("gamma\n")
    asked: dict[str, Any] = {"beside": repo / "requirements.txt"}
    assert locks.lock(None, "custom", home, **asked).text == f"{HEAD}beta==1.5\ngamma==1.0\n"
    (repo / "own.txt").write_text("alpha<2\n")
    assert "gamma" not in locks.lock(repo / "own.txt", "custom", home, **asked).text, "requirements that are named are all there is"
    (repo / "requirements.txt").write_text("gamma\nbeta<1.5\n")
    with pytest.raises(StepFailed):
        locks.lock(None, "custom", home, **asked)


def test_a_lock_is_kept_until_its_requirements_change_or_a_new_one_is_asked_for(index: Path, repo: Path, home: Path) -> None:
    (repo / "more.txt").write_text("beta\n")
    wanted = "alpha<2\n-r more.txt\n"
    before = lock(repo, wanted, home)
    wheel(index, "beta", "2.6")
    assert lock(repo, wanted, home) == before, "a newer release changes nothing by itself"
    assert "beta==2.6" in lock(repo, wanted, home, refresh=True)
    assert "beta==2.6" in lock(repo, wanted, home), "the newer one is what is kept now"
    (repo / "more.txt").write_text("beta<2\n")
    assert "beta==1.5" in lock(repo, wanted, home), "what is included counts too"
    for kept in (home / "locks").glob("*.json"):
        kept.write_text("{")
    assert "beta==1.5" in lock(repo, wanted, home), "a damaged one is made anew"


def test_an_index_that_requirements_name_is_remembered_here_and_not_in_the_lock(
    index: Path,
    repo: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel(repo / "own", "delta", "1.0")
    text = lock(repo, "--find-links own\ndelta\n", home)
    assert text == f"{HEAD}delta==1.0\n"
    env = envs.ensure(text, home)
    assert subprocess.run([str(env.python), "-c", "import delta"], check=False).returncode == 0
    with pytest.raises(BadInput, match="holds a password") as caught:
        lock(repo, "--extra-index-url https://bob:hunter2@example.com/simple\nalpha\n", home)
    assert "hunter2" not in str(caught.value) and caught.value.where == "requirements.txt:1"
    path = repo / "requirements.txt"
    path.write_text("--extra-index-url https://${TOKEN}@example.com/simple\nalpha\n")
    monkeypatch.setenv("TOKEN", "hunter2")
    assert requirements.read(path, "").indexes == ["--extra-index-url https://${TOKEN}@example.com/simple"], "uv fills variables in"


def test_hashes_that_are_demanded_stay_demanded(index: Path, repo: Path, home: Path) -> None:
    digest = hashlib.sha256((index / "beta-2.5-py3-none-any.whl").read_bytes()).hexdigest()
    text = lock(repo, f"beta==2.5 \\\n    --hash=sha256:{digest}\n", home)
    assert text == f"{HEAD}beta==2.5 --hash=sha256:{digest}\n"
    assert envs.ensure(text, home).python.exists()
    wrong = lock(repo, f"beta==2.5 --hash=sha256:{'0' * 64}\n", home)
    with pytest.raises(StepFailed) as caught:
        envs.ensure(wrong, home)
    assert "Hash mismatch" in " ".join(caught.value.log_tail)
    with pytest.raises(BadInput, match=r"beta==2\.5 has no hash"):
        lock(repo, f"alpha==2.0 --hash=sha256:{'0' * 64}\n", home)


@pytest.mark.parametrize(
    "line",
    [
        "./wheels/mine.whl", "mine-1.0-py3-none-any.whl", "/opt/mine", "-e .", "--editable=../mine", "mine @ file:///opt/mine.whl",
        "../mine", "mine @ ./mine", "mine[extra] @ file:mine.whl", "vendor/mine.tar.gz",
    ],
)  # fmt: skip
def test_what_no_lock_can_name_is_refused_with_its_line(repo: Path, home: Path, line: str) -> None:
    (repo / "base.txt").write_text(f"# local\nalpha\n{line}\n")
    with pytest.raises(BadInput, match="is a path: a bundle's lock cannot name it") as caught:
        lock(repo, "-r base.txt\n", home)
    assert caught.value.where == "base.txt:3"


def test_a_project_is_locked_by_its_own_versions(index: Path, repo: Path, home: Path) -> None:
    project = '[project]\nname = "p"\nversion = "0"\nrequires-python = ">=3.9"\ndependencies = ["alpha"]\n'
    assert lock(repo, project, home, name="pyproject.toml") == f"{HEAD}alpha==2.0\nbeta==2.5\n"
    older = project.replace('"alpha"', '"alpha<2", "beta<2"')
    (repo / "pyproject.toml").write_text(older)
    work = repo / "work"
    work.mkdir()
    installer.uv(["lock", "--project", str(repo)], "no lock", work, work)
    text = lock(repo, project, home, name="pyproject.toml")
    assert text == f"{HEAD}alpha==1.0\nbeta==1.5\n", "uv.lock pins what pyproject.toml leaves open"
    with pytest.raises(StepFailed, match=r"pyproject\.toml cannot be resolved"):
        lock(repo, project.replace('"alpha"', '"alpha>=2"'), home, name="pyproject.toml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[tool.other]\n", "has no .project. table"),
        ('[project]\nname = "p"\nversion = "0"\ndynamic = ["dependencies"]\n', "found out by running its build"),
        ("[project\n", "is no TOML"),
    ],
)
def test_a_project_that_says_nothing_is_refused(repo: Path, home: Path, text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        lock(repo, text, home, name="pyproject.toml")


def test_requirements_that_conflict_are_explained(index: Path, repo: Path, home: Path) -> None:
    with pytest.raises(StepFailed, match=r"requirements\.txt cannot be resolved") as caught:
        lock(repo, "alpha==2.0\nbeta<2\n", home)
    said = " ".join(caught.value.log_tail)
    assert "depends on beta>=2" in said and "unsatisfiable" in said
    with pytest.raises(StepFailed, match="cannot be resolved") as caught:
        lock(repo, "no-such-package\n", home)
    assert "no-such-package" in " ".join(caught.value.log_tail)
    with pytest.raises(StepFailed, match="cannot be resolved"):
        lock(repo, "not a requirement !!\n", home)
    assert not list((home / "locks").glob("*")) if (home / "locks").exists() else True


def test_bad_requirements(repo: Path, home: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no requirements\.txt"):
        locks.lock(repo / "requirements.txt", "custom", home)
    with pytest.raises(NotFound, match=r"there is no gone\.txt"):
        lock(repo, "-r gone.txt\n", home)
    with pytest.raises(BadInput, match="on the web"):
        lock(repo, "-r https://example.com/requirements.txt\n", home)
    (repo / "requirements.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(BadInput, match="not UTF-8"):
        locks.lock(repo / "requirements.txt", "custom", home)


def test_an_ssh_address_names_its_user_and_no_password(repo: Path) -> None:
    wanted = requirements.Wanted(repo / "requirements.txt")
    line = f"own @ git+ssh://git@github.com/team/own.git@{'0' * 40}"
    assert locks._pinned(line, wanted, "train.requirements") == line
    for address in ("git+ssh://git:hunter2@host/own.git", "git+https://t0ken@host/own.git", "https://me:hunter2@host/own.whl"):
        with pytest.raises(BadInput, match="holds a password"):
            locks._pinned(f"own @ {address}", wanted, "train.requirements")


def test_a_password_never_gets_into_a_lock(index: Path, repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(argv: list[str], what: str, cwd: Path, work: Path) -> None:
        Path(argv[argv.index("--output-file") + 1]).write_text("alpha @ https://bob:hunter2@example.com/alpha.whl\n")

    monkeypatch.setattr(locks.installer, "uv", resolve)
    with pytest.raises(BadInput, match="holds a password") as caught:
        lock(repo, "alpha\n", home)
    assert "hunter2" not in str(caught.value)


# -- pip's configuration ------------------------------------------------------------------------------------------------------------


def test_uv_looks_where_pip_is_told_to(tmp_path: Path, home: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel with a local version, as PyTorch's CPU build has one, in a folder that only pip's configuration names."""
    folder = tmp_path / "links"
    wheel(folder, "bigtorch", "2.0+cpu")
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nfind-links = {folder}\n[install]\nno-index = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    text = lock(repo, "bigtorch==2.0\n", home)
    assert text.removesuffix("+cpu\n").rstrip() == f"{HEAD}bigtorch==2.0"
    assert str(folder) not in "".join(file.read_text() for file in (home / "locks").iterdir()), "the machine's own stays the machine's own"
    subprocess.run([str(envs.ensure(text, home).python), "-c", "import bigtorch"], check=True)


def test_pips_options_become_uvs_where_uv_has_none(tmp_path: Path) -> None:
    files = {
        ".config/pip/pip.conf": "[global]\nindex-url = http://one/simple\nextra-index-url =\n  http://two/simple\n  http://three/simple\n"
    }
    files["own.conf"] = "[install]\nindex-url = http://four/simple\n[global]\ntrusted-host = one\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    base = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": str(tmp_path / "nowhere"),
        "PIP_CONFIG_FILE": str(tmp_path / "own.conf"),
        "PIP_CERT": "ca.pem",
    }
    found = installer.settings(base)
    assert {k: found[k] for k in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INSECURE_HOST", "SSL_CERT_FILE")} == {
        "UV_DEFAULT_INDEX": "http://four/simple", "UV_INDEX": "http://two/simple http://three/simple", "UV_INSECURE_HOST": "one",
        "SSL_CERT_FILE": "ca.pem",
    }  # fmt: skip
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match", "pip takes the best of all its indexes"
    assert installer.settings({**base, "PIP_INDEX_URL": "http://five/simple"})["UV_DEFAULT_INDEX"] == "http://five/simple"
    assert "UV_DEFAULT_INDEX" not in installer.settings({**base, "UV_INDEX_URL": "http://mine/simple"})
    assert installer.settings({**base, "PIP_CONFIG_FILE": "/dev/null"}) == {"SSL_CERT_FILE": "ca.pem"}


# -- interpreters -------------------------------------------------------------------------------------------------------------------


def test_a_pinned_python_is_found_among_those_that_there_are(
    index: Path,
    repo: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that says it is 3.77, and a shim that fails, as pyenv's do for versions that are not chosen."""
    own = pythons.own()
    bin = tmp_path / "bin"
    bin.mkdir()
    facts = json.dumps([own.implementation, "3.77.1", own.system, own.machine])
    for name, script in (("python3.77", f"echo '{facts}'"), ("python3.78", "echo not found >&2; exit 127")):
        (bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(bin), prepend=":")
    found = pythons.find("3.77")
    assert (found.program, found.version, found.minor) == (bin / "python3.77", "3.77.1", "3.77")
    with pytest.raises(NotFound, match=r"there is no Python 3\.78 on this machine, only .*") as caught:
        pythons.find("3.78")
    assert own.version in str(caught.value) and "none is downloaded" in caught.value.next
    with pytest.raises(NotFound, match=r"Python 3\.8 is too old"):
        pythons.find("3.8")
    assert pythons.find(own.minor) == pythons.find(None) == own
    seen = {}

    def resolve(argv: list[str], what: str, cwd: Path, work: Path) -> None:
        seen["python"] = argv[argv.index("--python") + 1]
        Path(argv[argv.index("--output-file") + 1]).write_text("alpha==2.0\n")

    monkeypatch.setattr(locks.installer, "uv", resolve)
    text = lock(repo, "alpha\n", home, python="3.77")
    assert seen["python"] == str(bin / "python3.77")
    assert text.startswith("# Python 3.77, ") and locks.python_of(text) == "3.77", "a bundle's lock says which Python it is for"
