"""Gauging: whether drift and ranges can be measured as the config asks, before a version goes by it: of categories no distance between
numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modelyard.build import bundle
from modelyard.config.spec import KINDS, Config
from modelyard.data.columns import types_of
from modelyard.durable import Outcome
from modelyard.errors import YardError
from modelyard.flows.site import Site
from modelyard.monitor import drift, quality

BASELINE = "baseline.json"


def asked(config: Config) -> bool:
    """Whether a column has a measure, or a range, of its own."""
    return bool(_named(config))


def _named(config: Config) -> set[str]:
    drift = config.monitor.drift
    return {name for name, _ in config.monitor.data_quality.ranged()} | set(drift.overrides if drift.enabled else ())


def verify(site: Site) -> Outcome[int]:
    """See that these fit their columns, before minutes are spent on training. Returns how many columns there are of which that is
    known. Raises BadInput. What `preprocess` makes of the rows is not known yet; see `of_baseline`.
    """
    import polars as pl

    config = site.config
    if not asked(config) or config.preprocess is not None:
        return Outcome(0)
    types = types_of(pl.read_parquet_schema(site.raw("train")))
    kinds = {name: KINDS[types[name]] for name in _named(config) if name in types}
    _verify(config, kinds)
    return Outcome(len(kinds), summary=f"{len(kinds)} measured otherwise than their kind")


def of_baseline(config: Config, baseline: dict[str, Any]) -> None:
    """See that measures and ranges fit what a version's baseline holds, its score too. Raises BadInput."""
    _verify(config, drift.kinds_of(baseline))


def _verify(config: Config, kinds: Mapping[str, str]) -> None:
    if config.monitor.drift.enabled:
        drift.verify(config.monitor.drift, kinds)
    quality.verify(config.monitor.data_quality, kinds)


def of_version(site: Site, version: str) -> None:
    """As `of_baseline`, of a version that is there already: what the monitors go by may have changed since. Raises BadInput."""
    try:
        sealed = bundle.open(site.shop.version(site.run.model, version).digest, site.shop.home.path).path / BASELINE
    except YardError:
        return  # whoever needs the bundle says so
    if sealed.exists():
        of_baseline(site.config, json.loads(sealed.read_text(encoding="utf-8")))
