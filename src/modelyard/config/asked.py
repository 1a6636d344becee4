"""What `bias` and `explain` ask for, against the kind of problem that there is: comparisons and classes that no build could settle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from modelyard.config import clarify, words
from modelyard.config.files import Finding
from modelyard.config.load import Loaded
from modelyard.config.spec import Bias, Config, PostTraining, PreTraining
from modelyard.errors import BadInput

_CLASSES = ("binary_classification", "multiclass_classification", "anomaly_detection")
_NUMBERS = ("regression", "forecasting")
_CONDITIONAL = ("CDDL", "CDDPL")


def findings(loaded: Loaded) -> Iterator[Finding]:
    """What ends the bias or the explain step whatever the data is. Values that do not occur show in the snapshot, not here."""
    bias = loaded.config.bias
    if bias is not None and bias.analysis_config is not None:
        yield from _clarify(loaded, bias.analysis_config)
    elif bias is not None:
        yield from _outcome(loaded.config, bias)
        yield from _facets(loaded.config, bias)
        yield from _criteria(bias)
    yield from _class(loaded.config)


def _clarify(loaded: Loaded, name: str) -> Iterator[Finding]:
    """Whether Clarify's file can be read; what stands in it is judged with the data."""
    try:
        clarify.of_file(loaded.folder, name)
    except BadInput as exc:
        yield ("bias", "analysis_config"), exc.what, ""
    except OSError:
        return  # `files` tells


def _outcome(config: Config, bias: Bias) -> Iterator[Finding]:
    """Whether it is said which outcomes are good ones, in the way that goes with the problem."""
    kind = config.model.problem_type
    spoken = kind.replace("_", " ")
    if kind not in (*_CLASSES, *_NUMBERS):
        yield ("bias",), f"bias metrics are not defined for {spoken}", "remove `bias`"
        return
    right, wrong = ("label_above", "label_values") if kind in _NUMBERS else ("label_values", "label_above")
    if getattr(bias, wrong) is not None:
        yield ("bias", wrong), f"`{wrong}` does not go with {spoken}", f"write `{right}` in its place"
    elif getattr(bias, right) is None and config.data.positive_class is None:
        yield ("bias",), f"bias of {spoken} needs to know which labels are the good outcome", f"write `{right}` under `bias`"


def _facets(config: Config, bias: Bias) -> Iterator[Finding]:
    named: list[tuple[words.Path, str]] = [(("bias", "facets", i, "column"), facet.column) for i, facet in enumerate(bias.facets)]
    named += [(("bias", "intersections", i, j), c) for i, names in enumerate(bias.intersections) for j, c in enumerate(names)]
    for path, column in named:
        if column == config.data.target_col:
            yield path, f"`{column}` is the target: it cannot be a facet as well", "compare by another column"


def _criteria(bias: Bias) -> Iterator[Finding]:
    """A gate on a facet that is not compared, on a metric that is left out, or on one that lacks its condition."""
    facets = [*(f.column for f in bias.facets), *("*".join(crossed) for crossed in bias.intersections)]
    measured = [*_of(bias.pre_training, PreTraining), *_of(bias.post_training, PostTraining)]
    for i, criterion in enumerate(bias.criteria):
        path: words.Path = ("bias", "criteria", i)
        if criterion.facet is not None and criterion.facet not in facets:
            near = words.nearest(criterion.facet, facets)
            hint = f"; did you mean `{near}`?" if near else ""
            yield (*path, "facet"), f"`{criterion.facet}` is none of the facets{hint}", f"the facets: {', '.join(facets)}"
        if criterion.metric not in measured:
            next = f"add it, or leave out this gate: {', '.join(measured)}"
            yield (*path, "metric"), f"{criterion.metric} is judged here and left out above", next
        elif criterion.metric in _CONDITIONAL and bias.group_col is None:
            said = f"a gate on {criterion.metric} needs the column to condition on"
            yield (*path, "metric"), said, "write `group_col` under `bias`"


def _of(chosen: tuple[str, ...] | None, every: object) -> tuple[str, ...]:
    return get_args(every) if chosen is None else chosen


def _class(config: Config) -> Iterator[Finding]:
    """A class to explain, where there are no classes; or another than those that the data may have."""
    kind, wanted = config.model.problem_type, config.explain.class_ if config.explain else None
    if wanted is None:
        return
    path: words.Path = ("explain", "class")
    if "classification" not in kind:
        yield path, f"`explain.class` is {wanted!r}, but {kind.replace('_', ' ')} has no probability of a class", "remove it"
        return
    expected = config.data.expect.columns.get(config.data.target_col)
    allowed = [str(v) for v in expected.categories or ()] if expected is not None and kind != "multilabel_classification" else []
    if allowed and str(wanted) not in allowed:
        yield path, f"`explain.class` is {wanted!r}, which is none of the target's categories", f"one of {', '.join(allowed[:10])}"
