"""Transformers that make more columns, or other ones: bins, polynomials, functions, and projections."""

from __future__ import annotations

import math
from typing import Any

from modelyard.runtime.extract.builder import FLAG, WHOLE, Builder, Cannot, Fact, Table, Transform
from modelyard.runtime.extract.versions import allows_missing, since


def binned(builder: Builder, model: Any, table: Table) -> Table:
    """KBinsDiscretizer. Before scikit-learn 1.3 values near an edge were moved."""
    if not since(1, 3):
        raise Cannot("KBinsDiscretizer before scikit-learn 1.3 moves values that are near an edge")
    if model.dtype is not None and builder.np.dtype(model.dtype) != builder.np.float64:
        raise Cannot(f"KBinsDiscretizer makes numbers of type {builder.np.dtype(model.dtype)}")
    slots = builder.numbers(model, table, sparse=False)
    made: list[int] = []
    for slot, edges, count in zip(slots, model.bin_edges_, model.n_bins_.tolist()):
        inner = builder.floats(edges[1:-1])  # those of a constant column are infinite
        place = builder.add("bins", [Fact(limit=float(len(inner)), missing=False)], slot=slot, edges=inner)
        if model.encode == "ordinal":
            made += place
            continue
        keys = [float(k) for k in range(count)]
        made += builder.add("onehot", [FLAG] * count, slot=place[0], keys=keys, places=list(range(count)), width=count)
    return table.made(made, sparse=model.encode == "onehot")


def polynomial(builder: Builder, model: Any, table: Table) -> Table:
    """PolynomialFeatures: scikit-learn multiplies each term's last factor first."""
    slots = builder.numbers(model, table)
    terms = [[slots[i] for i, power in enumerate(powers) for _ in range(power)][::-1] for powers in model.powers_.tolist()]
    several = [term for term in terms if len(term) != 1]
    facts = [_product([builder.facts[s] for s in term]) for term in several]
    products = iter(builder.add("products", facts, terms=several) if several else [])
    made = table.made([term[0] if len(term) == 1 else next(products) for term in terms], sparse=table.sparse)
    return made._replace(entries=None)  # a product may be 0 and yet an entry, by the version and the degree


def _product(facts: list[Fact]) -> Fact:
    limit = math.prod(fact.limit for fact in facts)
    return Fact(limit=limit if limit == limit else math.inf, missing=any(f.missing for f in facts) or limit == math.inf)


_FUNCTIONS = ("log", "log1p", "log2", "log10", "exp", "exp2", "expm1", "sqrt", "square", "abs", "sign")
_WITHIN = {"abs", "sign"}
"""Functions of which no finite number makes an infinite or a missing one."""


def applied(builder: Builder, model: Any, table: Table) -> Table:
    """FunctionTransformer, with a function of NumPy's."""
    if model.validate:
        builder.numbers(model, table)
        table = table.scaled(table.slots)
    if model.func is None:
        return table
    if model.kw_args:
        raise Cannot("FunctionTransformer gives its function arguments")
    if table.sparse or any(builder.objects(table, s) or builder.facts[s].kind != "number" for s in table.slots):
        raise Cannot("FunctionTransformer is given other columns than numbers")
    slots = [function(builder, model.func, slot) for slot in table.slots]
    return table._replace(slots=slots)


def function(builder: Builder, func: Any, slot: int) -> int:
    """A slot of a function of NumPy's. Raises Cannot for any other."""
    name = next((n for n in _FUNCTIONS if func is getattr(builder.np, n)), None)
    if name is None:
        raise Cannot(f"FunctionTransformer runs {getattr(func, '__name__', 'code')}, which has no row plan")
    fact = builder.facts[slot]
    if name in ("square", "abs") and fact.limit == WHOLE:
        raise Cannot(f"numpy.{name} of whole numbers overflows where that of floats does not")
    after = fact if name in _WITHIN else Fact()
    return builder.add("function", [after._replace(object=False)], slot=slot, name=name)[0]


def projected(builder: Builder, model: Any, table: Table) -> Table:
    """PCA. Since scikit-learn 1.5 the mean is taken off after the projection."""
    slots = builder.numbers(model, table, sparse=since(1, 5))
    np, components = builder.np, model.components_
    bias = np.zeros(len(components))
    if since(1, 5):
        bias = -(model.mean_.reshape(1, -1) @ components.T).ravel()
    elif model.mean_ is not None:
        slots = [builder.arithmetic(s, ("sub", m)) for s, m in zip(slots, builder.floats(model.mean_))]
    made = builder.linear(slots, components, bias)
    if model.whiten:
        scale = np.sqrt(model.explained_variance_)
        scale = np.maximum(scale, np.finfo(scale.dtype).eps) if since(1, 5) else scale
        made = [builder.arithmetic(s, ("div", float(v))) for s, v in zip(made, scale)]
    return table.made(made)


def reduced(builder: Builder, model: Any, table: Table) -> Table:
    slots = builder.numbers(model, table)
    return table.made(builder.linear(slots, model.components_, builder.np.zeros(len(model.components_))))


def selected(builder: Builder, model: Any, table: Table) -> Table:
    """Whatever keeps some columns and drops the rest. Of Python objects it finds no None missing, no infinity, and makes no numbers."""
    doubtful = any(builder.facts[s].missing or builder.facts[s].limit == math.inf for s in table.slots)
    if doubtful and any(builder.objects(table, s) for s in table.slots):
        raise Cannot(f"{type(model).__name__} is given Python objects, of which one may be missing or infinite")
    if allows_missing(model):  # then scikit-learn lets infinite values through, too
        Builder.sized(model, table)
        builder.numeric(model, table.slots)
    else:
        builder.numbers(model, table)
    kept = table.picked(builder.np.flatnonzero(model.get_support()).tolist())
    return kept.scaled(kept.slots)


_SELECTORS = (
    "VarianceThreshold", "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect",
    "SelectFromModel", "RFE", "RFECV", "SequentialFeatureSelector",
)  # fmt: skip
TRANSFORMS: dict[tuple[str, str], Transform] = {
    ("sklearn", "KBinsDiscretizer"): binned,
    ("sklearn", "PolynomialFeatures"): polynomial,
    ("sklearn", "FunctionTransformer"): applied,
    ("sklearn", "PCA"): projected,
    ("sklearn", "IncrementalPCA"): projected,
    ("sklearn", "TruncatedSVD"): reduced,
    **{("sklearn", name): selected for name in _SELECTORS},
}
