"""Delta tables: the newest version, by the deltalake package (modelyard[delta])."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.data import parts
from modelyard.data.parts import WHERE, Parts, first_line
from modelyard.errors import BadInput, NotFound

if TYPE_CHECKING:
    import polars as pl


def read(location: str, shown: str, folder: Path, spool: Path) -> Parts:
    """The rows of the table's newest version, copied into `spool` where there are many; all of one version, whoever writes meanwhile.

    `location` is a folder relative to `folder`, or a URL (s3://, gs://, az://; credentials and endpoint by the variables that deltalake
    reads, such as AWS_ENDPOINT_URL). Raises NotFound, BadInput.
    """
    try:
        import deltalake
    except ImportError as exc:
        hint = "pip install 'modelyard[delta]'"
        raise BadInput("reading Delta tables needs the package deltalake, which is not installed", where=WHERE, next=hint) from exc
    place = location if "://" in location else str(folder / Path(location).expanduser())
    if "://" not in location and not Path(place).is_dir():
        raise NotFound(f"there is no Delta table at {shown}", where=WHERE, next="name its folder, relative to config.yaml")
    try:
        table = deltalake.DeltaTable(place)
        dataset = table.to_pyarrow_dataset()
        pieces = parts.keep(_frames(dataset), spool)
    except deltalake.exceptions.TableNotFoundError as exc:
        raise NotFound(f"there is no Delta table at {shown}", where=WHERE, next="it has a folder `_delta_log`") from exc
    except Exception as exc:  # the reader's and the store's own kinds, whose texts may hold the address
        said = f"{shown} cannot be read as a Delta table: {type(exc).__name__}"
        raise BadInput(said, where=WHERE, next="" if "://" in location else first_line(exc)) from exc
    return parts.joined([(shown, piece) for piece in pieces])


def _frames(dataset: Any) -> Iterator[pl.DataFrame]:
    import polars as pl

    yield pl.DataFrame(pl.from_arrow(dataset.schema.empty_table()))
    # one file at a time and little ahead: memory stays that of a few batches
    for batch in dataset.to_batches(batch_size=parts.MOST_ROWS, fragment_readahead=0, batch_readahead=1):
        yield pl.DataFrame(pl.from_arrow(batch))
