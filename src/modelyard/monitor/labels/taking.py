"""Takes in more labels than can be held: what `ledger.add` does, in constant memory, and as a whole or not at all.

The tables are sorted one by one and laid down. Then ranges of ids are gone through, one after the other, that have about `PART` rows in all
tables together: what holds of an id is seen in its range, as in a whole import. What is new of each is a file of the ledger, which counts
for nothing until the last one is there (see `segments`). The same labels in other tables, or in another order, are the same import.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.monitor.labelfiles import Place
from modelyard.monitor.labels import ledger, segments
from modelyard.monitor.labels.ledger import Added

if TYPE_CHECKING:
    import polars as pl

PART, IDS = 250_000, 2_000_000
"""Rows that are looked at together, about; ids that are told together, each of which may have all that was captured read."""
_SAMPLES, _GOLDEN = 64, 0.618
"""Ids of as many rows as that, by which ranges are chosen."""


class Taking:
    """One import: `take` each of its tables, then `add` them; then go through its `ids`."""

    def __init__(self, spool: Path, place: Place | None = None) -> None:
        """spool: a folder of its own, to be let go of afterwards. place: where a row stands in its file, where tables have a `LINE`."""
        self._spool, self._place = spool, place
        self._taken: list[Path] = []
        self._parts: list[Path] = []
        self._sample: list[str] = []  # no series, which would hold all that it was taken from
        self._blank = 0

    def take(self, table: pl.DataFrame) -> None:
        """A table of labels as `ledger.add` takes it; the labels of all are of one type. Raises BadInput."""
        rows, blank = ledger.plain(table, self._place)
        self._blank += blank
        if not rows.is_empty():
            rows = rows.sort(tables.INFERENCE_ID)
            step = max(1, PART // _SAMPLES)  # from another place in each table, else all would tell of the same ids
            self._sample += rows[tables.INFERENCE_ID].gather_every(step, int(len(self._taken) * _GOLDEN * step) % step).to_list()
            self._taken.append(segments.lay(rows, self._spool / f"taken-{len(self._taken)}"))

    def add(self, folder: Path, received_at: datetime) -> Added:
        """Add all to the ledger in `folder`; as `ledger.add`. Raises BadInput, NoRoom: then none was added."""
        self._parts = [segments.lay(rows, self._spool / f"part-{i}") for i, rows in enumerate(self._ranges())]
        rows = sum(part.height for part in map(segments.laid, self._parts))
        with ledger.held(folder) as found:
            batch = ledger.digest(map(segments.laid, self._parts))
            if not rows:
                return Added(0, 0, 0, self._blank)
            one, made, new, corrected = ledger.coming(found, batch, received_at), list[Path](), 0, 0
            try:
                for path in self._parts:
                    given = segments.laid(path)
                    fresh, first, changed = ledger.news(given, ledger.holding(found, given[tables.INFERENCE_ID]), one)
                    new, corrected = new + first, corrected + changed
                    last = path == self._parts[-1]
                    if last and not (one.again and not made and fresh.is_empty()):
                        segments.write(fresh, folder, [one.name])  # even if empty: it says that this was seen, and has the others count
                    elif not last and not fresh.is_empty():
                        made.append(segments.write(fresh, folder, [], part_of=one.name))
            except BaseException:
                with suppress(OSError):  # they count for nothing, and go at the next look
                    for path in made:
                        path.unlink()
                raise
            ledger.tidy(folder)
        return Added(new, corrected, rows - new - corrected, self._blank)

    def _ranges(self) -> Iterator[pl.DataFrame]:
        """The rows of each range of ids, once each and sorted."""
        import polars as pl

        if not self._taken:
            return
        bounds = pl.Series(self._sample, dtype=pl.String).unique().sort()[_SAMPLES::_SAMPLES]
        cuts = [segments.cuts(path, bounds) for path in self._taken]
        for i in range(len(bounds) + 1):
            yield self._range([places[i : i + 2] for places in cuts])

    def _range(self, places: Sequence[Sequence[int]]) -> pl.DataFrame:
        """From where to before where its rows are in each of the tables that were laid down."""
        import polars as pl

        rows = [segments.some_of(path, *ends) for path, ends in zip(self._taken, places, strict=True)]
        return ledger.once(pl.concat(rows), self._place)

    def ids(self) -> Iterator[pl.Series]:
        """The ids that have a label in this import, each once; about `IDS` at a time."""
        import polars as pl

        for first in range(0, len(self._parts), IDS // PART):
            some = self._parts[first : first + IDS // PART]
            yield pl.concat([segments.laid(path)[tables.INFERENCE_ID].unique() for path in some])
