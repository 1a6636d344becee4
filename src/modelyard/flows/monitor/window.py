"""One window of one model, as a monitor is given it: what is asked of it is read or computed once, whoever asks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.errors import BadInput, NotFound
from modelyard.flows import drawing, history
from modelyard.flows.monitor import profiling
from modelyard.monitor.book import Word
from modelyard.monitor.windows import Span
from modelyard.registry.state import ModelState
from modelyard.signature import Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
MOST_ROWS = 2_000_000
"""The most rows of a window that are held at once. Of a larger one the profile counts all of them, a file of the capture at a time, and
what else is asked of its rows is asked of so many of them, drawn by chance."""


@dataclass(frozen=True, eq=False)
class Built:
    """What a version was registered as."""

    bundle: bundle.Bundle
    _read: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict)

    def document(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the bundle, read once and not to be changed; None where the version was built without."""
        if name not in self._read:
            path = self.bundle.path / name
            self._read[name] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        return self._read[name]

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What is made of the version, which no window changes, under a name of its own."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    @cached_property
    def scored(self) -> pl.DataFrame | None:
        """The hold-out as a predictions table; None where the version was built without."""
        import polars as pl

        path = self.bundle.path / "holdout.parquet"
        return pl.read_parquet(path, glob=False) if path.exists() else None


@dataclass(frozen=True, eq=False)
class Window:
    """`config`: the one in force in production. A window is judged by the version that answered most of it (`version`)."""

    shop: Workshop
    model: str
    config: Config
    state: ModelState
    span: Span
    said: dict[str, Word] = field(default_factory=dict)
    """What other monitors say of it in this very look; the book has it once all have spoken."""
    opened: dict[str, Built] = field(default_factory=dict)
    """By digest, for all windows of a look: a bundle is verified as it is opened, by reading each of its files."""
    settled: bool = False
    """The look has compacted the capture."""

    def word(self, kind: str) -> Word | None:
        """What a monitor says of this window, in this look or in an earlier one."""
        return self.said.get(kind) or self.shop.book.get(self.model, kind, self.span.start.isoformat(), self.span.end.isoformat())

    @cached_property
    def _read(self) -> tuple[pl.DataFrame, float]:
        return drawing.at_most(self.shop, self.model, self.span.start, self.span.end, MOST_ROWS, settled=self.settled)

    @property
    def share(self) -> float:
        """The share of the window's rows that are held: below 1 of one with more than `MOST_ROWS`."""
        return self._read[1]

    @property
    def everything(self) -> pl.DataFrame:
        """The captured rows of the window (`tables`), without labels, whichever version answered: all of them, or `share`."""
        return self._read[0]

    @property
    def held(self) -> bool:
        """Whether all rows have been read, and are held."""
        return "_read" in vars(self) and self.share == 1

    @property
    def looked_at(self) -> bool:
        """Whether it is known who answered: rows could be read, and there were some."""
        return "counts" in vars(self)

    @cached_property
    def counts(self) -> dict[str, int]:
        """All rows of the window by the version that answered them. None of them is held for it."""
        found, only = Counter[str](), (tables.INFERENCE_ID, tables.VERSION)
        asked = (self.shop, self.model, self.span.start, self.span.end)
        for rows in [self.everything] if self.held else history.pieces(*asked, only, settled=self.settled):
            found.update(dict(rows[tables.VERSION].value_counts(name="rows").iter_rows()))
        return dict(found)

    @property
    def height(self) -> int:
        """How many rows `version` answered, held or not."""
        return self.counts.get(self.version, 0)

    @cached_property
    def version(self) -> str:
        """The version that answered most rows; the champion where nobody did, empty where there is none."""
        if not self.counts:
            return self.state.champion or ""
        return max(self.counts, key=lambda version: (self.counts[version], version))

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The rows that `version` answered, without labels: so that no label can keep drift from being seen."""
        import polars as pl

        return self.everything.filter(pl.col(tables.VERSION) == self.version) if not self.everything.is_empty() else self.everything

    def pieces(self) -> Iterable[pl.DataFrame]:
        """All rows that `version` answered, a file at a time."""
        import polars as pl

        mine, asked = pl.col(tables.VERSION) == self.version, (self.shop, self.model, self.span.start, self.span.end)
        return [self.rows] if self.held else (rows.filter(mine) for rows in history.pieces(*asked, settled=self.settled))

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """`rows` with the labels known now, null where none came."""
        return history.labelled(self.shop, self.model, self.rows)

    @cached_property
    def profile(self) -> dict[str, Any]:
        """The window counted into the baseline's bins; kept, so that it is counted once."""
        return profiling.whole(self)

    @property
    def segments(self) -> dict[str, dict[str, Any]]:
        """The profiles of the values of `monitor.segments`, by "COLUMN=VALUE", of each column its most frequent value first."""
        return self._cut[0]

    @property
    def left_out(self) -> dict[str, int]:
        """The columns of `monitor.segments` that have more values than are profiled, and how many more."""
        return self._cut[1]

    @cached_property
    def _cut(self) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
        return profiling.segments(self)

    def built(self, version: str) -> Built:
        """What a version was registered as. Raises NotFound where it is gone, or nobody registered it."""
        if version not in self.state.versions:
            raise NotFound(f"version {version} of `{self.model}` answered, and is not registered")
        digest = self.state.versions[version].digest
        if digest not in self.opened:
            self.opened[digest] = Built(bundle.open(digest, self.shop.home.path))
        return self.opened[digest]

    @property
    def bundle(self) -> bundle.Bundle:
        """That of `version`; raises as `built`."""
        return self.built(self.version).bundle

    def document(self, name: str) -> dict[str, Any] | None:
        """A JSON file of `bundle`; as `Built.document`."""
        return self.built(self.version).document(name)

    @property
    def signature(self) -> Signature:
        return self.bundle.signature

    @property
    def baseline(self) -> dict[str, Any]:
        """What `version` was trained and evaluated on, as a profile. Raises BadInput where it was registered without."""
        found = self.document("baseline.json")
        if found is None:
            raise BadInput(f"version {self.version} was registered without a baseline", next="build it again")
        return found

    @property
    def holdout(self) -> dict[str, float]:
        """The metrics that `version` was registered with."""
        return {k: v for k, v in self.state.versions[self.version].metrics.items() if v is not None}
