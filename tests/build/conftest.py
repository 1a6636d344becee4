"""What the tests of environments share: an index of packages made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.wheels import wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that uv is told of by its environment, as a person's machine would."""
    folder = tmp_path / "wheels"
    wheel(folder, "alpha", "1.0", ("beta>=1",))
    wheel(folder, "alpha", "2.0", ("beta>=2", "gamma ; extra == 'more'"), ("more",))
    wheel(folder, "beta", "1.5")
    wheel(folder, "beta", "2.5")
    wheel(folder, "gamma", "1.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder
