"""The explain step: SHAP attributions of the hold-out through the runner that serves; and a version's rows explained for whoever asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec.quality import Explain
from modelyard.data import snapshots
from modelyard.data.prepare import as_times
from modelyard.durable import Outcome
from modelyard.errors import BadInput, NotFound
from modelyard.flows import batch, evaluation, plans
from modelyard.flows.scoring import bundled
from modelyard.flows.site import SPLITS
from modelyard.runners import running
from modelyard.serve import explain as structural
from modelyard.serve import runner
from modelyard.serve.plan.compiled import RowPlan
from modelyard.signature import Scalar, Signature
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

    from modelyard.flows.site import Site
    from modelyard.quality.explain import Ask, Explanation
    from modelyard.serve.explanations import Explained

DOCUMENT, ROWS, BACKGROUND = "explanations.json", "attributions.parquet", "background.parquet"
MADE = (DOCUMENT, ROWS, BACKGROUND)
"""What the step leaves in the run's folder, for the bundle and the report."""
BASE = "base"
EVERY = 5.0
"""Seconds between two lines of progress."""
MOST_ROWS = 1000
"""Rows that are explained at once for a person."""
Said = Callable[[str], None]


def verify(site: Site) -> Outcome[str]:
    """See that the class that is to be explained is there, before minutes are spent on training. Returns the output's name.

    Raises BadInput. Classes that `preprocess` makes are not known yet, and are left to the explain step.
    """
    import polars as pl

    config = site.config
    assert config.explain is not None  # by the flow
    if config.preprocess is not None:
        return Outcome("", summary="not known before preprocess")
    rows = pl.concat([pl.scan_parquet(site.raw(name)) for name in SPLITS])
    signed = snapshots.signature(rows, config.data, config.model.problem_type, config.evaluate.decision_threshold, config.timezone)
    output = explained_output(signed, config.explain.class_, pl.Series(signed.target_col, [], dtype=pl.String))
    return Outcome(output, summary=output)


def explain(site: Site, lock: str, code: dict[str, Any]) -> Outcome[dict[str, Any]]:
    """Explain rows of the hold-out against rows of the training split, both drawn by the seed.

    Writes explanations.json (`quality.explain.summary`, and `partial_dependence`), attributions.parquet (inference_id, a column a feature,
    base) and background.parquet (the features of the background, for explanations of later rows). Raises BadInput where `explain` asks
    for a class that there is not, or for a method that does not suit the model.
    """
    import polars as pl

    from modelyard.quality.explain import summary

    asked = site.config.explain
    assert asked is not None  # by the flow: no `explain`, no step
    signed, holdout = evaluation.signature(site), pl.read_parquet(site.folder / "holdout.parquet")
    training = pl.scan_parquet(site.part("train"))
    output = explained_output(signed, asked.class_, training.select(signed.target_col).collect()[signed.target_col])
    drawn = _drawn(holdout, asked.rows, asked.seed)
    rows, background = _features(drawn, signed), _drawn_of(training.select(signed.names), asked.background, asked.seed)
    say = _progress(lambda text: site.run.feed.put("line", step="explain", text=text))
    with running(evaluation.loadable(site, lock, code), site.folder / "explain.log") as socket:
        ask = _ask(socket, signed, output, site.folder)
        found = attributed(socket, ask, rows, background, signed, output, asked, say)
        document = {**summary(found, rows, seed=asked.seed), "partial_dependence": []}
        if asked.partial_dependence:
            document["partial_dependence"] = _dependence(ask, rows, document, asked)
    (site.folder / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
    _table(drawn[tables.INFERENCE_ID], found).write_parquet(site.folder / ROWS)
    background.write_parquet(site.folder / BACKGROUND)
    first = document["global"][0]["feature"]
    receipt = {"method": found.method, "output": found.output, "rows": rows.height, "first": first, "additivity_error": found.error}
    return Outcome(receipt, summary=f"{rows.height:,} rows by {found.method}, sums within {found.error:.1g}; {first} weighs most")


def by_label(site: Site) -> dict[str, dict[str, float]] | None:
    """Each feature's mean absolute attribution, as Clarify's analysis.json has it; None where nothing was explained."""
    path = site.folder / DOCUMENT
    if site.config.explain is None or not path.exists():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return {"label0": {row["feature"]: row["mean_abs"] for row in document["global"]}}


def explained_output(signature: Signature, wanted: Scalar, labels: pl.Series) -> str:
    """The output that is explained, by its name: the probability of the class that is wanted, by default the positive one, else the most
    frequent (the first label of several); a number or a score as it is. Raises BadInput."""
    names = [str(c) for c in signature.classes]
    if f"probability_{signature.classes[0] if names else ''}" not in signature.outputs:
        if wanted is not None:
            raise BadInput(
                f"`explain.class` is {wanted!r}, but {signature.problem_type} has no probability of a class",
                where="explain.class",
                next="remove it",
            )
        return "score" if "score" in signature.outputs else "prediction"
    if wanted is None:
        wanted = signature.positive_class
    if wanted is None and signature.problem_type == "multiclass_classification":
        counts = labels.drop_nulls().cast(str).alias("value").value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
        wanted = counts["value"][0] if counts.height else None
    if wanted is None:
        wanted = names[0]
    if str(wanted) not in names:
        known = ", ".join(names[:10])
        raise BadInput(f"`explain.class` is {wanted!r}, which is none of the classes", where="explain.class", next=f"one of {known}")
    return f"probability_{signature.classes[names.index(str(wanted))]}"


def attributed(
    socket: Path, ask: Ask, rows: pl.DataFrame, background: pl.DataFrame, signature: Signature, output: str, asked: Explain, say: Said
) -> Explanation:
    """Attributions of `rows`: by the model's structure where the runner at `socket` sees through it, else by asking."""
    reason = f"`{asked.method}` is asked for"
    if asked.method in ("auto", "tree", "linear"):
        try:
            return _exactly(structural.explain(socket, rows, background, signature, output, asked.method), background.height, rows, output)
        except structural.Declined as exc:
            reason = str(exc)
        if asked.method != "auto":
            what = f"`explain.method: {asked.method}` does not suit this model: {reason}"
            raise BadInput(what, where="explain.method", next="write `method: auto`, which asks the model itself where it must")
    say(f"{reason}; the model itself is asked")
    return _by_asking(ask, rows, background, output, asked, reason, say)


def _exactly(parts: list[Explained], background: int, rows: pl.DataFrame, output: str) -> Explanation:
    import numpy as np

    from modelyard.quality.explain import Explanation

    first = parts[0]
    values = np.concatenate([np.asarray(part.attributions).T for part in parts])
    error = max(part.error + abs(part.base - first.base) for part in parts)
    return Explanation(tuple(rows.columns), values, first.base, first.output, output, first.method, first.why, background, error)


def _by_asking(ask: Ask, rows: pl.DataFrame, background: pl.DataFrame, output: str, asked: Explain, reason: str, say: Said) -> Explanation:
    import numpy as np

    from modelyard.quality.explain import Explanation, Game, attribute, choose

    method = "auto" if asked.method in ("tree", "linear") else asked.method
    choice = choose(method, rows.height, rows.width, background.height)
    used = _drawn(background, choice.background, asked.seed)
    game = Game(ask, rows, used, lambda count: say(f"{count:,} rows put to the model"))
    values = attribute(game, choice, asked.seed)
    error = float(np.abs(values.sum(axis=1) + game.base - game.outputs).max())
    why = f"{reason}; the model was asked {game.asked:,} times: {choice.why}"
    unit = "probability" if output.startswith("probability_") else output
    return Explanation(tuple(rows.columns), values, game.base, unit, output, choice.method, why, used.height, error)


def _ask(socket: Path, signature: Signature, output: str, folder: Path) -> Ask:
    """The explained output for any rows: by the row plan in `folder` where there is one, which takes a fifth of the time of the runner at
    `socket`, and is proven to answer as it does."""
    import numpy as np

    path = plans.plan_of(folder)
    plan = RowPlan.load(path, signature) if path else None

    def ask(table: pl.DataFrame) -> Any:
        if plan is None:
            return runner.predict(socket, table, signature)[tables.output(output)].to_numpy()
        columns = {name: values.to_list() for name, values in runner.features(table, signature).items()}
        return np.asarray(plan.predict(columns, table.height)[output], dtype=np.float64)

    return ask


def _dependence(ask: Ask, rows: pl.DataFrame, document: dict[str, Any], asked: Explain) -> list[dict[str, Any]]:
    from modelyard.quality.explain import partial_dependence

    top = [row["feature"] for row in document["global"][: asked.top]]
    return partial_dependence(ask, rows, top, seed=asked.seed)


def _drawn(table: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """`count` rows by the seed, in the table's order; all where there are no more."""
    places = _places(table.height, count, seed)
    return table if places is None else table[places]


def _drawn_of(table: pl.LazyFrame, count: int, seed: int) -> pl.DataFrame:
    """As `_drawn`, of a table that is not held to draw from it."""
    import polars as pl

    places = _places(int(table.select(pl.len()).collect().item()), count, seed)
    if places is not None:
        table = table.with_row_index(_ROW).filter(pl.col(_ROW).is_in(pl.Series(places).implode())).drop(_ROW)
    return table.collect(engine="streaming")


_ROW = "\x1frow"


def _places(height: int, count: int, seed: int) -> Any:
    """Which rows are drawn, rising; None where all are."""
    import numpy as np

    return None if height <= count else np.sort(np.random.default_rng(seed).choice(height, count, replace=False))


def _features(predictions: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    import polars as pl

    return predictions.select(pl.col(tables.feature(name)).alias(name) for name in signature.names)


def _table(ids: pl.Series, found: Explanation) -> pl.DataFrame:
    import polars as pl

    columns = {tables.feature(name): found.attributions[:, j] for j, name in enumerate(found.features)}
    return pl.DataFrame({tables.INFERENCE_ID: ids, **columns, BASE: [found.base] * len(ids)})


def _progress(say: Said) -> Said:
    """`say`, at most every 5 seconds."""
    last = [0.0]

    def limited(text: str) -> None:
        now = time.monotonic()
        if now - last[0] >= EVERY:
            last[0] = now
            say(text)

    return limited


# -- a version's rows, for whoever asks ----------------------------------------------------------------------------------------------


def of_version(shop: Workshop, model: str, version: str | None, id: str | None = None, file: Path | None = None) -> dict[str, Any]:
    """How a version (the champion, else the newest) came to its outputs: kept rows by `id`, new rows from `file`, else importance overall.

    Returns model, version, method, why, output, of, base_value, and `rows`: each with `inference_id`, `answer` (the runner's own output),
    `total` (base and attributions together, in the unit `output`) and `attributions`, a list of feature, value and attribution that falls
    by weight; or, for neither, `global`. Raises NotFound (no such version or row, or no explanations kept), BadInput (the file),
    StepFailed (the model cannot be loaded).
    """
    state = shop.model(model)
    found = shop.version(model, version or state.champion)
    opened = bundle.open(found.digest, shop.home.path)
    answer = {"model": model, "version": found.version}
    if file is not None:
        return {**answer, **_new(shop, opened, file, f"{model}-{found.version}")}
    document = _kept_document(opened)
    if document is None:
        what = f"no explanations are kept with {model}:{found.version}"
        raise NotFound(what, next="explain new rows with `--rows FILE`, or write `explain: {}` in the config and build again")
    facts = {key: document[key] for key in ("method", "why", "output", "of", "base_value")}
    if id is None:
        return {**answer, **facts, "global": document["global"], "rows": []}
    return {**answer, **facts, "rows": [_kept_row(opened, id, document["of"])]}


def online(opened: bundle.Bundle) -> tuple[Path | None, str | None]:
    """What answers of a version are explained against while it serves, and which output; None where it keeps no background."""
    path, document = opened.path / BACKGROUND, _kept_document(opened)
    return (path, document["of"]) if document is not None and path.exists() else (None, None)


def _kept_document(opened: bundle.Bundle) -> dict[str, Any] | None:
    path = opened.path / DOCUMENT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _kept_row(opened: bundle.Bundle, id: str, of: str) -> dict[str, Any]:
    import polars as pl

    kept = pl.read_parquet(opened.path / ROWS).filter(pl.col(tables.INFERENCE_ID) == id)
    if kept.is_empty():
        raise NotFound(f"row {id} is not among the explained rows of the hold-out", next="explain it as a new row: `--rows FILE`")
    seen = pl.read_parquet(opened.path / "holdout.parquet").filter(pl.col(tables.INFERENCE_ID) == id)
    values, base = _features(seen, opened.signature).row(0, named=True), kept[BASE][0]
    attributions = {name: kept[tables.feature(name)][0] for name in opened.signature.names}
    return _row(id, values, seen[tables.output(of)][0], attributions, base)


def _new(shop: Workshop, opened: bundle.Bundle, file: Path, name: str) -> dict[str, Any]:
    """Explanations of the rows of a file, by the runner, against the background that the build kept (else the hold-out)."""
    import polars as pl

    signed = opened.signature
    table = batch.read(file, [c.name for c in signed.columns if c.type == "str"] + ([signed.id_col] if signed.id_col is not None else []))
    if table.height > MOST_ROWS:
        raise BadInput(f"{file.name} has {table.height:,} rows; at most {MOST_ROWS:,} are explained at once", next="take some of them")
    lacking = [column for column in signed.names if column not in table.columns]
    if lacking:
        raise BadInput(f"{file.name} has no column `{lacking[0]}`", where=f"column `{lacking[0]}`", next="The model needs it.")
    holdout, document = pl.read_parquet(opened.path / "holdout.parquet"), _kept_document(opened)
    kept = opened.path / BACKGROUND
    asked = Explain()
    background = pl.read_parquet(kept) if kept.exists() else _drawn(_features(holdout, signed), asked.background, asked.seed)
    output = document["of"] if document else explained_output(signed, None, holdout[tables.LABEL])
    rows = typed(table.select(signed.names), background, signed)
    log = shop.home.runs / "explain" / f"{name}.log"
    found, answers = by_runner(shop, opened, rows, background, output, asked, log)
    why = found.why if kept.exists() else f"{found.why} (no background was kept: rows of the hold-out stand in)"
    facts = {"method": found.method, "why": why, "output": found.output, "of": found.of, "base_value": found.base}
    ids = table[signed.id_col] if signed.id_col in table.columns else pl.Series(range(table.height))
    return {
        **facts,
        "rows": [
            _row(str(ids[i]), values, answers[i], dict(zip(found.features, found.attributions[i].tolist(), strict=True)), found.base)
            for i, values in enumerate(rows.iter_rows(named=True))
        ],
    }


def by_runner(
    shop: Workshop, opened: bundle.Bundle, rows: pl.DataFrame, background: pl.DataFrame, output: str, asked: Explain, log: Path
) -> tuple[Explanation, list[float]]:
    """Attributions of `rows` by a runner of the bundle, in its own environment, and the model's own answers. Raises YardError."""
    with running(bundled(shop, opened), log) as socket:
        ask = _ask(socket, opened.signature, output, opened.path)
        found = attributed(socket, ask, rows, background, opened.signature, output, asked, lambda text: None)
        return found, ask(rows).tolist()


def typed(rows: pl.DataFrame, background: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """The rows as the background is typed: a file of text says less about types than the build knew. Naive times are in the zone that the
    signature says. Raises BadInput."""
    import polars as pl

    typed, zones = [], {column.name: column.timezone for column in signature.columns}
    for name in rows.columns:
        series, wanted = rows[name], background[name].dtype
        try:
            if wanted.is_temporal() and (series.dtype == pl.String or series.dtype.is_temporal()):
                series = as_times(series, zones[name])
                series = series if getattr(wanted, "time_zone", None) else series.dt.replace_time_zone(None)
            typed.append(series.cast(wanted))
        except (pl.exceptions.PolarsError, BadInput) as exc:
            said = exc.what if isinstance(exc, BadInput) else str(exc).splitlines()[0]
            raise BadInput(f"`{name}` does not fit its type: {said}", where=f"column `{name}`") from exc
    return pl.DataFrame(typed)


def _row(id: str, values: dict[str, Any], answer: float, attributions: dict[str, float], base: float) -> dict[str, Any]:
    parts = [{"feature": name, "value": values[name], "attribution": value} for name, value in attributions.items()]
    parts.sort(key=lambda part: -abs(part["attribution"]))
    return {"inference_id": id, "answer": answer, "total": base + sum(attributions.values()), "attributions": parts}
