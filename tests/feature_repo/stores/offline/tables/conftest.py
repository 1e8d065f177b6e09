"""A database on the TimescaleDB server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql


@pytest.fixture
def scaled(timescale_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A database on the TimescaleDB server, dropped afterwards; every statement is its own transaction."""
    name = f"test_{uuid.uuid4().hex}"
    base, _, options = timescale_url.partition("?")
    with psycopg.connect(timescale_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with psycopg.connect(f"{base.rpartition('/')[0]}/{name}?{options}", autocommit=True) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
