"""The numbers by which rows name the kernels that made them, one for each set of versions (the table ``kernel_versions``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import psycopg

Versions = Mapping[str, int]
"""Kernels by name, with their versions."""

_FIND: Final = "SELECT id FROM kernel_versions WHERE versions = %s::jsonb"
_ADD: Final = "INSERT INTO kernel_versions (versions) VALUES (%s::jsonb) ON CONFLICT DO NOTHING"


def number_of(connection: psycopg.Connection[Any], versions: Versions | None) -> int | None:
    """Return the number of a set of versions, which is added where it is new; None for unknown kernels."""
    if versions is None:
        return None
    text = json.dumps(dict(versions))
    while (row := connection.execute(_FIND, (text,)).fetchone()) is None:
        connection.execute(_ADD, (text,))
    return int(row[0])
