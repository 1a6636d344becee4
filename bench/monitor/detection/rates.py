"""What the words of all make: who alarms by which rule, how often, how soon, and what other settings of ours would have said.

A record is one tool's word on one window: `{tool, set, cut, shift, size, stream, k}` and ours `{status, quality, columns, score,
joint}`
(`own.judged`), a peer's `{dataset, columns}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Record = dict[str, Any]
OURS, EVIDENTLY, ALIBI = "modelyard", "evidently", "alibi"
SIGNIFICANCE = 0.001


class Rule(NamedTuple):
    """A tool, and what of its words is an alarm."""

    tool: str
    name: str
    alarmed: Callable[[Record], bool]


RULES = (
    Rule(OURS, "Modelyard, drift", lambda r: r["status"] == "violated"),
    Rule(OURS, "Modelyard, drift or data quality", lambda r: "violated" in (r["status"], r["quality"])),
    Rule(OURS, "Modelyard, drift `warning` or more", lambda r: r["status"] in ("warning", "violated")),
    Rule(EVIDENTLY, "Evidently, dataset", lambda r: r["dataset"]),
    Rule(EVIDENTLY, "Evidently, any column", lambda r: r["columns"] > 0),
    Rule(ALIBI, "alibi-detect", lambda r: r["dataset"]),
)


class Settings(NamedTuple):
    """Other settings of ours: thresholds times `scale`, and how many of the features must move.

    No settings yet, but rules that could be: `alone`, a feature at so many times its threshold is enough; `joint`, the columns together
    are enough.
    """

    name: str
    scale: float
    share: float
    joint: bool = False
    alone: float = float("inf")


TUNED = (
    Settings("as by default", 1.0, 0.3),
    Settings("`share: 0.2`", 1.0, 0.2),
    Settings("`share: 0.1`", 1.0, 0.1),
    Settings("one column is enough (`share: 0.01`)", 1.0, 0.01),
    Settings("PSI of 0.1, `share: 0.3`", 0.5, 0.3),
    Settings("PSI of 0.1, `share: 0.1`", 0.5, 0.1),
    Settings("PSI of 0.1, one column is enough", 0.5, 0.01),
    Settings("PSI of 0.05, one column is enough", 0.25, 0.01),
    Settings("`share: 0.3`, or one column at PSI 0.5", 1.0, 0.3, alone=2.5),
    Settings("one column, or the columns together", 1.0, 0.01, joint=True),
)


def violated(record: Record, settings: Settings) -> bool:
    """What `judge` would have said of our record by other settings; of the score's threshold too, which alone violates."""

    def moved(pair: list[float]) -> bool:
        return pair[0] >= settings.scale and pair[1] <= SIGNIFICANCE

    count = sum(map(moved, record["columns"]))
    few = count > 0 and count >= settings.share * len(record["columns"]) - 1e-9
    far = any(moved(pair) and pair[0] >= settings.alone for pair in record["columns"])
    return moved(record["score"]) or few or far or (settings.joint and bool(record["joint"]))


class Rate(NamedTuple):
    alarms: int
    windows: int

    @property
    def share(self) -> float:
        return self.alarms / self.windows

    @property
    def at_most(self) -> float:
        """Upper end of the 95% interval of Clopper and Pearson, as if windows had nothing to do with each other."""
        from scipy.stats import beta

        return 1.0 if self.alarms == self.windows else float(beta.ppf(0.975, self.alarms + 1, self.windows - self.alarms))


def rate(records: Iterable[Record], alarmed: Callable[[Record], bool]) -> Rate | None:
    """None where there is no window."""
    words = [alarmed(r) for r in records]
    return Rate(sum(words), len(words)) if words else None


def same(records: list[Record]) -> list[Record]:
    """The words on windows that were shown to every tool that was asked: of the cuts that all of them have."""
    cuts = [{(r["set"], r["cut"]) for r in records if r["tool"] == tool} for tool in {r["tool"] for r in records}]
    shared = set.intersection(*cuts) if cuts else set()
    return [r for r in records if (r["set"], r["cut"]) in shared]


class Delay(NamedTuple):
    """`mean`: windows from the onset to the first alarm, 1 being the first window, of the streams with one; `never`: share without."""

    mean: float | None
    never: float
    streams: int


def delay(records: Iterable[Record], alarmed: Callable[[Record], bool]) -> Delay | None:
    streams: dict[tuple[Any, ...], list[int]] = {}
    for r in records:
        first = streams.setdefault((r["set"], r["cut"], r["size"], r["stream"]), [])
        first += [r["k"]] if alarmed(r) else []
    if not streams:
        return None
    firsts = [min(found) for found in streams.values() if found]
    return Delay(sum(firsts) / len(firsts) if firsts else None, 1 - len(firsts) / len(streams), len(streams))
