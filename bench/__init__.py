"""Measurements. ``python -m bench [name ...]`` runs them; each prints one JSON object a line."""

import ingest  # noqa: F401  # before a benchmark imports torch, see ingest.settings
