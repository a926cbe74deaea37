"""Values of records as JSON holds them: what Parquet, NumPy and pandas give, made plain."""

from __future__ import annotations

import datetime
import decimal
import math
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["MAX_NESTING", "duration_text", "plain", "plain_record"]

MAX_NESTING = 100
"""Levels of arrays and objects in metadata. What Python's json takes depends on how deep the caller
stands, and metadata that was stored must be readable from everywhere."""


def plain_record(record: Mapping[Any, Any]) -> dict[Any, Any]:
    """The record with every value made plain."""
    return {key: plain(value) for key, value in record.items()}


def plain(value: Any, levels: int = MAX_NESTING) -> Any:
    """Make a value one that JSON holds, where it can be told how.

    Dates and times become ISO 8601; decimals, durations and UUIDs strings; numbers, texts and arrays of
    NumPy those of Python; what is missing (NaN, NaT, ``pandas.NA``, infinity) ``None``. Anything else
    stays as it is, and so does what lies deeper than ``levels``: whoever stores it refuses it.
    """
    if value is None or type(value) in (str, int, bool):
        return value
    if _is_missing(value):
        return None
    if isinstance(value, np.ndarray | np.generic):
        return _plain_numpy(value, levels)
    if isinstance(value, datetime.timedelta):
        return _timedelta_text(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, list | tuple | Mapping) and not levels:
        return value
    if isinstance(value, list | tuple):
        return [plain(one, levels - 1) for one in value]
    if isinstance(value, Mapping):
        return {key: plain(one, levels - 1) for key, one in value.items()}
    return value


def _is_missing(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return not math.isfinite(value)
    if isinstance(value, decimal.Decimal):
        return not value.is_finite()
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    # Whoever has a value of pandas has imported it.
    pandas = sys.modules.get("pandas")
    return pandas is not None and (
        value is getattr(pandas, "NA", None) or value is getattr(pandas, "NaT", None)
    )


def _plain_numpy(value: np.ndarray[Any, Any] | np.generic, levels: int) -> Any:
    if isinstance(value, np.datetime64):
        coarse = value.astype("datetime64[us]")
        moment = (coarse if coarse == value else value).item()
        if np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D"):
            moment = value.astype("datetime64[D]").item()
        return moment.isoformat() if isinstance(moment, datetime.date) else str(value)
    if isinstance(value, np.timedelta64):
        return duration_text(int(value.astype("timedelta64[ns]").astype(np.int64)))
    if isinstance(value, np.generic):
        return value.item()
    if not value.ndim:
        return plain(value[()], levels)
    return plain(list(value), levels)


def _timedelta_text(value: datetime.timedelta) -> str:
    microseconds = (value.days * 86_400 + value.seconds) * 10**6 + value.microseconds
    return duration_text(microseconds * 1000 + getattr(value, "nanoseconds", 0))


def duration_text(nanoseconds: int) -> str:
    """A duration as Python shows a ``timedelta``, with nine digits where six do not hold it.

    >>> duration_text(90_061_000_000_000), duration_text(1_000_000_001)
    ('1 day, 1:01:01', '0:00:01.000000001')
    """
    microseconds, rest = divmod(nanoseconds, 1000)
    text = str(datetime.timedelta(microseconds=microseconds))
    if not rest:
        return text
    return f"{text}{rest:03d}" if "." in text else f"{text}.{rest:09d}"
