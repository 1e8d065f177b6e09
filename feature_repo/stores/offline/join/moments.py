"""The column of moments of an entity frame: times and ISO texts are taken, numbers are refused.

pandas reads a number as nanoseconds since 1970. Most exchanges give milliseconds, so their frames would ask for rows of
1970 and get nulls without a word.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import pandas as pd

from feature_repo.stores.errors import UserError

_READ: Final = (str, date, np.datetime64)  # a datetime is a date, too


class MomentError(UserError, ValueError):
    """An entity frame or its column of moments cannot be read; the message says what to convert."""


def utc_times(column: pd.Series, name: str) -> pd.Series:
    """Return the moments of a frame as times. Times and texts without a zone are UTC, a date is its midnight.

    Texts are ISO 8601, because others can be read in two ways (01/02/2024). A missing value stays missing: its row gets
    null features. Raise `MomentError` for numbers and for other things.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    plain = column.astype(object)
    for position, value in enumerate(plain):
        if isinstance(value, _READ) or pd.isna(value):
            continue
        kind = type(value).__name__
        if isinstance(value, int | float | np.number) or kind == "Decimal":
            raise MomentError(
                f"{name} holds numbers ({value!s:.40} in row {position}), which do not say their unit. Convert them, for "
                f'milliseconds since 1970: frame["{name}"] = pd.to_datetime(frame["{name}"], unit="ms", utc=True)'
            )
        raise MomentError(
            f"{name} holds {kind} in row {position}; give times, for example by pd.to_datetime(..., utc=True)"
        )
    try:
        return pd.to_datetime(plain, format="ISO8601", utc=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise MomentError(
            f"{name} cannot be read as ISO 8601 times ({error!s:.200}). Convert it, for example "
            f'frame["{name}"] = pd.to_datetime(frame["{name}"], format="%d/%m/%Y %H:%M", utc=True)'
        ) from error
