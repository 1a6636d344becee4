"""MLflow's database after an attempt to make it was cut short in this very process, as by a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from modelyard.registry.store import Store


def test_tables_that_were_cut_short_are_made_anew_by_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.db import utils

    def cut_short(engine: Any) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE _alembic_tmp_params (x INTEGER)"))
        raise OSError(28, "No space left on device")

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", cut_short)
        with pytest.raises(OSError, match="No space left"):
            store._open()
    client = store._open()
    assert client.search_registered_models() == []
    assert [p.name for p in tmp_path.glob("*making*")] == []
    tables = client._tracking_client.store.engine.connect().execute(text("SELECT name FROM sqlite_master")).scalars().all()
    assert "runs" in tables and "_alembic_tmp_params" not in tables
