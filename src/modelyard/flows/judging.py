"""Whether rows can be judged at all: their weights, and a ranking's labels, looked at before minutes are spent on training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.flows.site import Site


def verify(site: Site) -> None:
    """Raises BadInput for weights and labels by which nothing can be measured. What preparing steps make of them is not known yet."""
    import polars as pl

    config = site.config
    weight, ranked = config.data.schema_.weight_col, config.model.problem_type == "ranking"
    if config.preprocess is not None or config.steps or not (weight or ranked):
        return
    from modelyard.quality.encode import verify_relevance, weights_of

    for name in ("train", "test"):
        rows = pl.scan_parquet(site.raw(name))
        if weight is not None:
            weights_of(rows.select(weight).collect()[weight], "data.schema.weight_col")
        if ranked:
            verify_relevance(rows.select(config.data.target_col).collect()[config.data.target_col])
