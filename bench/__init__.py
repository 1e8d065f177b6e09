"""Measurements. ``python -m bench [name ...]`` runs them; each prints one JSON object a line."""
