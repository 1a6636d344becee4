"""Batch: files of rows through a version, to files of predictions. No endpoint is needed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import csvs
from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.durable import Run
from modelyard.errors import BadInput, Halted, NotFound
from modelyard.flows import plans
from modelyard.flows.scoring import bundled
from modelyard.home import usual_mode
from modelyard.monitor import windows
from modelyard.registry.state import ModelState
from modelyard.runners import running
from modelyard.serve.batch import filters, launch
from modelyard.serve.batch.launch import Stop
from modelyard.serve.batch.order import ENDINGS, MISSING, MOST_WORKERS, Answering, Order, Shape, usual_workers
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

RUN = "batch-"
"""How the ids of scheduled runs begin; the model and the instant follow."""


def batch(
    shop: Workshop,
    model: str,
    version: str | None,
    source: Path,
    target: Path,
    *,
    shape: Shape | None = None,
    suffix: str = "",
    workers: int | None = None,
    max_errors: int = 0,
    may_be_empty: bool = False,
    on_file: Callable[[dict[str, Any]], None] | None = None,
    stop: Stop | None = None,
) -> dict[str, Any]:
    """Predict every row of a file, or of each file in a folder, into files that appear whole or not at all. Formats go by the endings.

    Without a version the champion answers, else the newest: by its row plan where it has one, else by as many runners as `workers`.
    `may_be_empty`: a folder without files is no error.
    Raises NotFound, BadInput (a column is missing, a row does not fit, a filter does not hold), StepFailed (the model cannot be loaded),
    NoRoom; Halted where `stop` was asked.
    """
    shape = shape or Shape()
    for text in (shape.input_filter, shape.output_filter):
        filters.parse(text)
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise BadInput(f"1 to {MOST_WORKERS} workers, not {workers}")
    found = shop.version(model, version or shop.model(model).champion)
    log = shop.home.runs / "batch" / f"{model}-{found.version}.log"
    plan = plans.plan_of(shop.bundle(found))
    workers = workers or usual_workers(plan=plan is not None)
    with _answering(shop, found.digest, plan, workers, log) as answering:
        order = Order(str(source), str(target), found.digest, answering, shape, suffix, workers, max_errors, may_be_empty)
        done = launch.run(order, log, usual_mode(), on_file, stop)
    return {"model": model, "version": found.version, "output": str(target), **done}


class Batches:
    """The batches that somebody waits for, by the ids that they were given, and how each is stopped."""

    def __init__(self) -> None:
        self._stops: dict[str, Stop] = {}
        self._lock = threading.Lock()

    def run(self, id: str, shop: Workshop, *what: Any, **how: Any) -> dict[str, Any]:
        """`batch`, until `stop` is asked for its id. Raises as that does; where it was stopped, Halted with what is left of it."""
        stop, done = Stop(), list[dict[str, Any]]()
        with self._lock:
            if id in self._stops:
                raise BadInput(f"a batch `{id}` is under way")
            self._stops[id] = stop
        try:
            return batch(shop, *what, on_file=done.append, stop=stop, **how)
        except Halted as exc:
            files = "no file was" if not done else "1 file is" if len(done) == 1 else f"{len(done):,} files are"
            said = f"the batch was stopped; {files} done{' and stays' if len(done) == 1 else ' and stay' if done else ''}"
            raise Halted(said, next="run the same command again: it does what is left") from exc
        finally:
            with self._lock:
                del self._stops[id]

    def stop(self, id: str) -> bool:
        """End it; whether there was one."""
        with self._lock:
            stop = self._stops.get(id)
        if stop is not None:
            stop.ask()
        return stop is not None


@contextlib.contextmanager
def _answering(shop: Workshop, digest: str, plan: Path | None, workers: int, log: Path) -> Iterator[Answering]:
    """Who answers, for as long as the block lasts."""
    opened = bundle.open(digest, shop.home.path)
    signature = opened.signature.to_dict()
    if plan is not None:
        yield Answering(signature, plan=str(plan))
        return
    what = bundled(shop, opened)
    logs = [log.with_name(f"{log.stem}-{number}.log") for number in range(workers)]
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor(workers) as pool:  # models take their time to load
            sockets = list(pool.map(lambda log: stack.enter_context(running(what, log)), logs))
        yield Answering(signature, sockets=tuple(map(str, sockets)))


def read(path: Path, texts: Collection[str] = ()) -> pl.DataFrame:
    """The rows of a file of one of FORMATS; of a csv `texts` are columns of text, whatever stands in them: 01234 is no number then. Raises
    NotFound, BadInput."""
    import polars as pl

    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    readers: dict[str, Any] = {
        ".csv": lambda p: csvs.frame(p, dict.fromkeys(texts, pl.String), infer_schema_length=None, null_values=list(MISSING)),
        ".parquet": pl.read_parquet,
        ".jsonl": lambda p: pl.read_ndjson(p, infer_schema_length=None),
    }
    if path.suffix not in readers:
        raise BadInput(f"{path.name} has no ending that says its format", next=f"end it with one of {ENDINGS}")
    try:
        table: pl.DataFrame = readers[path.suffix](path)
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise BadInput(f"{path.name} cannot be read: {str(exc).splitlines()[0]}") from exc
    if table.is_empty():
        raise BadInput(f"{path.name} has no rows")
    return table


# -- on a schedule ---------------------------------------------------------------------------------------------------------------


def due(config: Config, state: ModelState, now: datetime) -> datetime | None:
    """The newest instant at which the config's batch was to begin and none did; of several that were missed only that one."""
    stage = state.stage("production")
    if config.deploy.batch is None or not stage.weights or state.champion is None:
        return None
    since = max((_instant(run) for run in state.runs if run.startswith(RUN)), default=datetime.fromisoformat(stage.history[-1][0]))
    ticks = windows.ticks(config.deploy.batch.schedule_expression, config.timezone, since, now)
    return ticks[-1] if ticks else None


def run_id(model: str, tick: datetime) -> str:
    """The id of the run for an instant: there is one."""
    return f"{RUN}{model}-{int(tick.timestamp())}"


def _instant(run: str) -> datetime:
    return datetime.fromtimestamp(int(run.rpartition("-")[2]), UTC)


def scheduled(shop: Workshop, run: Run) -> str:
    """Predict what is new in the config's folder with the version that production has now. Files that are done stay done."""
    asked, state = shop.config(run.model).deploy.batch, shop.model(run.model)
    if asked is None or state.champion is None:
        return "nothing is asked for any more"
    folder = Path(state.folder)
    done = run.step("predict files", _predict, shop, run, folder / asked.input, folder / asked.output, state.champion)
    return str(done)


def _predict(shop: Workshop, run: Run, source: Path, target: Path, version: str) -> str:
    def tell(file: dict[str, Any]) -> None:
        run.feed.put("line", step="predict files", text=_said(file))

    done = batch(shop, run.model, version, source, target, may_be_empty=True, on_file=tell)
    fresh = done["files"] - done["kept"]
    return f"{done['rows']:,} rows in {done['files']:,} files by {run.model}:{version}, {fresh:,} of them new"


def _said(file: dict[str, Any]) -> str:
    return f"{file['output']}: {file['rows']:,} rows{', done before' if file['kept'] else ''}"
