"""Batch: a file of rows through a version's runner, to a file of predictions. No endpoint is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle
from modelyard.errors import BadInput, NotFound
from modelyard.flows.scoring import bundled
from modelyard.home import open_to_whom_the_user_likes
from modelyard.runners import running
from modelyard.serve import runner
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

FORMATS = (".csv", ".parquet", ".jsonl")


def batch(shop: Workshop, model: str, version: str | None, source: Path, target: Path) -> dict[str, Any]:
    """Predict every row of `source` into `target`, which appears whole or not at all. Formats go by the ending.

    Without a version the champion answers, else the newest. The output has the input's id (or row number) and the outputs.
    Raises NotFound, BadInput (a column is missing or does not fit), StepFailed (the model cannot be loaded), NoRoom.
    """
    state = shop.model(model)
    found = shop.version(model, version or state.champion)
    opened = bundle.open(found.digest, shop.home.path)
    signature, table = opened.signature, read(source)
    if target.suffix not in FORMATS:
        raise BadInput(f"the output {target.name} has no ending that says its format", next=f"end it with one of {', '.join(FORMATS)}")
    id_col = signature.id_col if signature.id_col in table.columns else None
    log = shop.home.runs / "batch" / f"{model}-{found.version}.log"
    with running(bundled(shop, opened), log) as socket:
        answers = runner.predict(socket, table, signature)
    result = answers.rename({name: name.removeprefix(tables.OUTPUT) for name in answers.columns})
    ids = table[id_col] if id_col else result.with_row_index("row")["row"]
    _write(result.insert_column(0, ids), target)
    return {"model": model, "version": found.version, "rows": table.height, "output": str(target)}


def read(path: Path) -> pl.DataFrame:
    """The rows of a file of one of FORMATS. Raises NotFound, BadInput."""
    import polars as pl

    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    readers: dict[str, Any] = {
        ".csv": lambda p: pl.read_csv(p, infer_schema_length=None, null_values=["", "NA", "NaN"]),
        ".parquet": pl.read_parquet,
        ".jsonl": pl.read_ndjson,
    }
    if path.suffix not in readers:
        raise BadInput(f"{path.name} has no ending that says its format", next=f"end it with one of {', '.join(FORMATS)}")
    try:
        table: pl.DataFrame = readers[path.suffix](path)
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise BadInput(f"{path.name} cannot be read: {str(exc).splitlines()[0]}") from exc
    if table.is_empty():
        raise BadInput(f"{path.name} has no rows")
    return table


def _write(table: pl.DataFrame, path: Path) -> None:
    work = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        writers: dict[str, Any] = {".csv": table.write_csv, ".parquet": table.write_parquet, ".jsonl": table.write_ndjson}
        writers[path.suffix](work)
        open_to_whom_the_user_likes(work)
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
