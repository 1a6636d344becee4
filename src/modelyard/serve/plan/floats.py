"""Functions of one float64 as NumPy has them: no exceptions, but infinities and NaN. Without NumPy, for a row at a time."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

NAN, INF = math.nan, math.inf
LARGEST = 1.7976931348623157e308
EPS = 2.220446049250313e-16
NO_NORM = 10 * EPS
"""A norm below this counts as none, as in scikit-learn."""
FLOAT32_ENDS = (-3.4028235677973362e38, 3.4028235677973362e38)
"""The float64s that are still finite as float32."""
EXP_OVERFLOWS = 709.782712893384
SINGLE = struct.Struct("<f")


def f4(x: float) -> float:
    """The value rounded to float32."""
    try:
        unpacked: float = SINGLE.unpack(SINGLE.pack(x))[0]
    except OverflowError:
        return math.copysign(INF, x)
    return unpacked


def exp(x: float) -> float:
    return INF if x > EXP_OVERFLOWS else math.exp(x)


def expm1(x: float) -> float:
    return INF if x > EXP_OVERFLOWS else math.expm1(x)


def _logarithm(function: Callable[[float], float], pole: float) -> Callable[[float], float]:
    def logarithm(x: float) -> float:
        if x > pole:
            return function(x)
        return -INF if x == pole else NAN

    return logarithm


log, log2, log10 = _logarithm(math.log, 0.0), _logarithm(math.log2, 0.0), _logarithm(math.log10, 0.0)
log1p = _logarithm(math.log1p, -1.0)


def sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0.0 else NAN


def square(x: float) -> float:
    return x * x


def sign(x: float) -> float:
    return x if x != x else float((x > 0.0) - (x < 0.0))


def sigmoid(x: float) -> float:
    """As scipy.special.expit."""
    return 1.0 / (1.0 + exp(-x))


def sigmoid_f4(x: float) -> float:
    """As XGBoost's, each intermediate result a float32."""
    return f4(1.0 / f4(f4(exp(min(-x, 88.7))) + 1.0)) if x == x else x


def exp2(x: float) -> float:
    """As 2.0 ** x."""
    try:
        return math.pow(2.0, x)
    except OverflowError:
        return INF


def yeo_johnson(x: float, parameter: float) -> float:
    """As scipy.stats.yeojohnson."""
    if x >= 0.0:
        return log1p(x) if abs(parameter) < EPS else expm1(parameter * log1p(x)) / parameter
    other = 2.0 - parameter
    return -expm1(other * log1p(-x)) / other if abs(other) > EPS else -log1p(-x)


def box_cox(x: float, parameter: float) -> float:
    """As scipy.special.boxcox."""
    logged = log(x)
    if abs(parameter) < 1e-19:
        return logged
    if parameter * logged < 709.78 or x != x or logged != logged:
        return expm1(parameter * logged) / parameter
    return math.copysign(1.0, parameter) * exp(parameter * logged - log(abs(parameter))) - 1.0 / parameter


NAMED: dict[str, Callable[[float], float]] = {
    "log": log, "log1p": log1p, "log2": log2, "log10": log10, "exp": exp, "exp2": exp2, "expm1": expm1, "sqrt": sqrt, "square": square,
    "abs": abs, "sign": sign,
}  # fmt: skip
WITH_PARAMETER: dict[str, Callable[[float, float], float]] = {"yeo_johnson": yeo_johnson, "box_cox": box_cox}


def interpolate(x: float, xs: tuple[float, ...], ys: tuple[float, ...], place: int) -> float:
    """As numpy.interp, where `place` is how many of `xs` are at most x."""
    if x != x:
        return x
    if place == 0:
        return ys[0]
    if place == len(xs) or xs[place - 1] == x:
        return ys[place - 1]
    low = place - 1
    return (ys[place] - ys[low]) / (xs[place] - xs[low]) * (x - xs[low]) + ys[low]
