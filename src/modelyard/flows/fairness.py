"""The bias step: the comparisons that `bias:` asks for, settled before training and measured after it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.durable import Outcome
from modelyard.errors import BadInput, NotFound
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from modelyard.flows.site import Site
    from modelyard.quality.bias.analysis import Asked

DOCUMENT, CLARIFY, QUESTION = "bias.json", "analysis.json", "analysis_config.json"


def packaged(site: Site) -> list[str]:
    """The SHA-256 of an `analysis_config.json`, wherever it lies: what it asks is part of what a version is judged by. None where the
    config holds it, which is part of the recipe. Raises NotFound."""
    bias = site.config.bias
    if bias is None or bias.analysis_config is None or bias.asks is not None:
        return []
    path = site.repository / bias.analysis_config
    if not path.is_file():
        raise NotFound(f"there is no file {bias.analysis_config}", where="bias.analysis_config")
    return [hashlib.sha256(path.read_bytes()).hexdigest()]


def verify(site: Site) -> Outcome[list[str]]:
    """Settle every comparison on the training split, before minutes are spent on training. Returns the comparisons' names.

    Of an `analysis_config.json` counts what it said as the config was accepted. A config of an earlier release does not hold that: then
    the file is copied, so that what is edited while a build runs does not change it.

    Raises BadInput: a facet's column that is not in the data, a value that does not occur, a group without rows, a gate on a metric
    that is not measured or on a facet that is not compared, or what cannot be honoured of an `analysis_config.json`.
    """
    from modelyard.quality.bias import analysis, clarify

    bias = site.config.bias
    if bias is not None and bias.analysis_config is not None:
        said = bias.asks if bias.asks is not None else clarify.read(site.repository / bias.analysis_config)
        (site.folder / QUESTION).write_text(json.dumps(said), encoding="utf-8")
    training = _training(site)
    groups = analysis.verify(_asked(site, training), training, site.config.data.target_col)
    _gated(site, dict.fromkeys("*".join(group.columns) for group in groups))
    return Outcome([group.name for group in groups], summary=f"{len(groups)} comparisons")


def _gated(site: Site, compared: Collection[str]) -> None:
    """See that the facets that gates name are compared: those of Clarify's file are not known before."""
    for place, criterion in enumerate(site.config.bias.criteria if site.config.bias is not None else ()):
        if criterion.facet is not None and criterion.facet not in compared:
            raise BadInput(
                f"`{criterion.facet}` is none of the facets",
                where=f"bias.criteria[{place}].facet",
                next=f"the facets: {', '.join(compared)}",
            )


def bias(site: Site, explanations: dict[str, dict[str, float]] | None = None) -> Outcome[dict[str, Any]]:
    """Clarify's metrics, after `verify`: pre-training of the training split, post-training of the hold-out as the runner answered it.

    Writes bias.json (see `analysis.analyse`) and, in Clarify's own shape, analysis.json, with the `explanations` where there are some:
    global SHAP values by label (`label0`, or a class) and feature. Returns `{"measures": [...]}`, see `analysis.measures`.
    """
    import polars as pl

    from modelyard.quality.bias import analysis, clarify
    from modelyard.quality.bias.measure import Interval

    training = _training(site)
    asked = _asked(site, training)
    signed = Signature.from_dict(json.loads((site.folder / "signature.json").read_text(encoding="utf-8")))
    holdout = pl.read_parquet(site.folder / "holdout.parquet")
    wanted = site.config.evaluate.confidence
    interval = Interval(wanted.level, wanted.resamples, wanted.seed)
    document = analysis.analyse(asked, training, holdout, signed, interval, _beside(site, holdout, asked.columns))
    _write(site, DOCUMENT, document)
    _write(site, CLARIFY, clarify.analysis(document, explanations))
    measured = analysis.measures(document)
    undefined = sum(row["value"] is None for row in measured)
    facets = len(document["facets"])
    summary = f"{len(measured)} measures of {facets} comparison{'s' if facets != 1 else ''}"
    return Outcome({"measures": measured}, summary=summary + (f", {undefined} of them undefined" if undefined else ""))


def _write(site: Site, name: str, document: dict[str, Any]) -> None:
    (site.folder / name).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")


def _training(site: Site) -> pl.DataFrame:
    """The training split as it came out of the snapshot, for `preprocess` may drop or recode a facet. Columns that are neither compared nor
    the target are there by name only, all null: of a large table they would fill the memory."""
    import polars as pl

    rows = pl.scan_parquet(site.raw("train"))
    columns = rows.collect_schema().names()
    needed = {site.config.data.target_col, *_named(site, columns)}
    return rows.select(pl.col(name) if name in needed else pl.lit(None).alias(name) for name in columns).collect(engine="streaming")


def _named(site: Site, columns: Sequence[str]) -> set[str]:
    """The columns that are named, whether they are there or not."""
    from modelyard.quality.bias import analysis, clarify

    data, wanted = site.config.data, site.config.bias
    assert wanted is not None  # by the flow: no `bias`, no step
    weight = data.schema_.weight_col
    if wanted.analysis_config is not None:
        return clarify.columns(clarify.read(site.folder / QUESTION), columns) | ({weight} if weight is not None else set())
    return {*analysis.asked(wanted, site.config.model.problem_type, data.positive_class, weight).columns}


def _asked(site: Site, training: pl.DataFrame) -> Asked:
    from modelyard.quality.bias import analysis, clarify

    config = site.config
    data, wanted, kind = config.data, config.bias, config.model.problem_type
    assert wanted is not None  # by the flow: no `bias`, no step
    if wanted.analysis_config is None:
        return analysis.asked(wanted, kind, data.positive_class, data.schema_.weight_col)
    threshold = config.evaluate.decision_threshold
    setting = clarify.Setting(
        training=training,
        target=data.target_col,
        problem_type=kind,
        positive_class=data.positive_class,
        decision_threshold=0.5 if threshold is None and kind == "binary_classification" else threshold,
        explains=config.explain is not None,
    )
    found = clarify.asked(clarify.read(site.folder / QUESTION), setting, wanted.analysis_config)
    gated = tuple(dict.fromkeys(criterion.metric for criterion in wanted.criteria))
    return replace(found, weight_col=data.schema_.weight_col, gated=gated)


def _beside(site: Site, holdout: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """The columns `names` of the hold-out's rows, as the source has them: preparing steps may have dropped or recoded a facet, or left rows
    out, and a predictions table has columns of its own, which may be called alike."""
    import polars as pl

    id_col = site.config.data.id_col
    raw = pl.read_parquet(site.raw("test"), columns=list(dict.fromkeys([*names, *([id_col] if id_col is not None else [])])))
    if site.part("test") == site.raw("test") and raw.height == holdout.height:
        return raw.select(names)
    if id_col is not None:
        key = raw[id_col].cast(pl.String).alias(_KEY)
        if key.is_unique().all() and holdout[tables.INFERENCE_ID].is_in(key.implode()).all():
            ids = holdout.select(pl.col(tables.INFERENCE_ID).alias(_KEY))
            return ids.join(raw.select(names).with_columns(key), on=_KEY, how="left", maintain_order="left").select(names)
    return pl.DataFrame([_kept(holdout, raw, name) for name in names])


_KEY = "\x1fid"


def _kept(holdout: pl.DataFrame, raw: pl.DataFrame, name: str) -> pl.Series:
    """A column that came through `preprocess` with the values it had."""
    for column in (tables.extra(name), tables.feature(name)):
        there = holdout[column] if column in holdout.columns else None
        if there is not None and there.dtype == raw[name].dtype and there.drop_nulls().is_in(raw[name].implode()).all():
            return there.alias(name)
    raise BadInput(
        f"'{name}' did not come through the preparing steps as it was, so that the hold-out's rows have no group",
        where="bias",
        next="name an `id_col` under `data` that they keep, or have them keep the column",
    )
