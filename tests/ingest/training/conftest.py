"""A database with the tables, and a feature store on it."""

from tests.feature_repo.stores.conftest import database, definitions, open_store

__all__ = ["database", "definitions", "open_store"]
