"""The types of the config's values: durations, windows, paths, names, and the base of every part."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticKnownError

Stage = Literal["staging", "production"]
STAGES: tuple[Stage, ...] = ("staging", "production")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")
_WINDOW = re.compile(r"[1-9][0-9]{0,3}(s|m|h|d|w|mo)")
_LONGEST = timedelta(days=36525)
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"([0-9]{1,9})(B|KB|MB|GB|TB)")
_CRON_WORD = r"(?!\S*[0-9]{3})[0-9A-Za-z*,/#-]{1,100}"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://.+", re.DOTALL)
_BREAKS = re.compile(r"[\x00-\x1f\x7f]")
DATABASES = ("sqlite", "duckdb", "postgresql")


def shown(value: Any) -> str:
    """A value as a message names it: short, and in quotes where it is text."""
    if isinstance(value, dict | list):
        return "this"
    text = str(value)
    text = text if len(text) <= 60 else text[:59] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def parse_duration(value: Any) -> timedelta:
    """`90s`, `15m`, `24h`, `7d`, `2w`, or several in a row (`1h30m`)."""
    if isinstance(value, timedelta):
        return value
    text = value if isinstance(value, str) else ""
    if len(text) > 100 or not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"{shown(value)} is not a duration; write 90s, 15m, 24h, 7d, 2w or 1h30m")
    seconds = sum(int(n) * _UNITS[u] for n, u in _DURATION.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{shown(value)} is longer than a hundred years")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """The shortest writing of a duration, e.g. `1d` for 24 hours."""
    seconds, parts = int(span.total_seconds()), []
    for unit in ("w", "d", "h", "m", "s"):
        count, seconds = divmod(seconds, _UNITS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def parse_size(value: Any) -> int:
    """`500MB`, `10GB`: bytes, by thousands."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not int(found[1]):
        raise ValueError(f"{shown(value)} is not a size; write 500MB, 10GB or 1TB")
    return int(found[1]) * _BYTES[found[2]]


def format_size(size: int) -> str:
    """The shortest writing of a size in bytes."""
    unit = next(u for u in reversed(_BYTES) if size % _BYTES[u] == 0)
    return f"{size // _BYTES[unit]}{unit}"


def _window(value: str) -> str:
    if not _WINDOW.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a window; write 15m, 1h, 1d, 1w or 1mo")
    return value


def timezone_name(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(f"{shown(value)} is not a time zone; write a name such as UTC or America/New_York") from exc
    return value


def _cron(value: str) -> str:
    from croniter import croniter

    # The fields are bounded before croniter sees them: it expands ranges as they are written.
    if not re.fullmatch(rf"{_CRON_WORD}(?: {_CRON_WORD}){{4}}", value) or not croniter.is_valid(value):
        raise ValueError(f"{shown(value)} is not a schedule; write five cron fields, such as '*/15 * * * *' or '0 6 1 * *'")
    return value


def _relative(value: str) -> str:
    """A path that stays below config.yaml's folder and cannot be taken for an option."""
    leads_out = value.startswith(("/", "~", "-")) or ".." in value.split("/") or "\\" in value
    if leads_out or not value.strip() or _BREAKS.search(value):
        raise ValueError(f"{shown(value)} must be a path inside the model's repository, relative to config.yaml")
    return value


def _location(value: str) -> str:
    """A path inside the repository, or a URL without a password."""
    if not _SCHEME.fullmatch(value):
        return _relative(value)
    try:
        password = urlsplit(value).password
    except ValueError:
        password = None
    if password is not None:
        raise ValueError("a password stands in this URL; write {secret: NAME}, and keep the whole URL in that secret")
    if _BREAKS.search(value):
        raise ValueError(f"{shown(value)} is not a URL")
    return value


def _channel(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\x00-\x1f\x7f]+", value):
        raise ValueError("a channel is an Apprise URL, such as slack://..., or {secret: NAME}")
    return value


def _hyperparameters(values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if len(value if isinstance(value, str) else json.dumps(value)) > 2500:
            raise ValueError(f"the hyperparameter `{name}` is longer than 2500 characters")
    return values


def _no_bool(value: Any) -> Any:
    """True equals 1 in Python, and so would pass for the literal 1."""
    if isinstance(value, bool):
        raise ValueError(f"this must be 1, not {str(value).lower()}")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,9}(s|m|h|d|w))+$", "examples": ["15m", "24h", "7d"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,9}(B|KB|MB|GB|TB)$", "examples": ["500MB", "10GB"]}),
]
Window = Annotated[str, AfterValidator(_window), Field(examples=["15m", "1d", "1mo"])]
Cron = Annotated[str, AfterValidator(_cron), Field(examples=["*/15 * * * *"])]
RelativePath = Annotated[str, AfterValidator(_relative)]
Location = Annotated[str, AfterValidator(_location)]
Channel = Annotated[str, AfterValidator(_channel)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Hyperparameters = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,255}$")], Any],
    Field(max_length=100),  # SageMaker's limits
    AfterValidator(_hyperparameters),
]
WRITTEN = "written"
"""The context in which what a person wrote is validated, and not a stored config."""


def _noted(value: Any, info: ValidationInfo) -> Any:
    if info.context == WRITTEN:
        raise PydanticKnownError("extra_forbidden")
    return value


NOTED = BeforeValidator(_noted)
"""Of a field that no file holds and a stored config does: what was noted as the config was accepted. `SkipJsonSchema` goes with it."""
One = Annotated[Literal[1], BeforeValidator(_no_bool)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
Share = Annotated[float, Field(ge=0, le=1)]
OnFail = Literal["block", "warn"]


class Part(BaseModel):
    """Base of every part of the config: frozen, strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), populate_by_name=True)


class Secret(Part):
    """A reference to a secret: read from MODELYARD_SECRET_<NAME> or <home>/secrets/<NAME> where it is used, never stored."""

    secret: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
