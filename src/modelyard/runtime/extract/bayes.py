"""Naive Bayes: joint log likelihoods, and the soft maximum of them."""

from __future__ import annotations

import math
from typing import Any

from modelyard.runtime.extract.builder import FLAG, Builder, Fact, Method, Table


def gaussian(builder: Builder, model: Any, table: Table) -> list[int]:
    slots = builder.numbers(model, table)
    made = builder.add(
        "gauss",
        [Fact(missing=False)] * len(model.classes_),
        slots=slots,
        means=builder.floats(model.theta_),
        variances=builder.floats(model.var_),
        priors=builder.floats(builder.np.log(model.class_prior_)),
    )
    return builder.link("softmax", made)


def multinomial(builder: Builder, model: Any, table: Table) -> list[int]:
    slots = builder.numbers(model, table)
    return builder.link("softmax", builder.linear(slots, model.feature_log_prob_, model.class_log_prior_))


def complement(builder: Builder, model: Any, table: Table) -> list[int]:
    slots = builder.numbers(model, table)
    bias = model.class_log_prior_ if len(model.classes_) == 1 else builder.np.zeros(len(model.classes_))
    return builder.link("softmax", builder.linear(slots, model.feature_log_prob_, bias))


def bernoulli(builder: Builder, model: Any, table: Table) -> list[int]:
    slots = builder.numbers(model, table)
    if model.binarize is not None:
        slots = [builder.add("binarize", [FLAG], slot=slot, threshold=float(model.binarize))[0] for slot in slots]
    negative = builder.np.log(1 - builder.np.exp(model.feature_log_prob_))
    bias = model.class_log_prior_ + negative.sum(axis=1)
    return builder.link("softmax", builder.linear(slots, model.feature_log_prob_ - negative, bias))


def categorical(builder: Builder, model: Any, table: Table) -> list[int]:
    """CategoricalNB cuts numbers down to whole ones; it refuses those below 0 and those that training did not see."""
    slots = builder.numbers(model, table, sparse=False)
    classes: list[list[int]] = [[] for _ in model.classes_]
    for slot, likelihoods in zip(slots, model.feature_log_prob_):
        rows = builder.floats(likelihoods.T)
        edges = [math.nextafter(-1.0, 0.0), *(float(k) for k in range(1, len(rows) + 1))]
        (place,) = builder.add("bins", [Fact(limit=float(len(edges)), missing=False)], slot=slot, edges=edges)
        facts = [Fact(limit=max(abs(row[k]) for row in rows), missing=False) for k in range(len(classes))]
        keys = [float(k + 1) for k in range(len(rows))]
        made = builder.add("lookup", facts, slot=place, keys=keys, values=rows, unknown=None, missing=None)
        for summands, one in zip(classes, made):
            summands.append(one)
    priors = builder.floats(model.class_log_prior_)
    sums = [builder.linear(summands, [[1.0] * len(summands)], [prior])[0] for summands, prior in zip(classes, priors)]
    return builder.link("softmax", sums)


METHODS: dict[tuple[str, str, str], Method] = {
    ("sklearn", "GaussianNB", "predict_proba"): gaussian,
    ("sklearn", "MultinomialNB", "predict_proba"): multinomial,
    ("sklearn", "ComplementNB", "predict_proba"): complement,
    ("sklearn", "BernoulliNB", "predict_proba"): bernoulli,
    ("sklearn", "CategoricalNB", "predict_proba"): categorical,
}
