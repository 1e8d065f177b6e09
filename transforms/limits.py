"""Limits that messages and kernels share; this module imports nothing, so that every other may import it."""

MAX_LEVELS = 20
"""Price levels of a side that are used; deeper ones are ignored."""
MAX_NUMBER = 1e15
"""No market has a price or size above this; up to it, sums of squares and products of 20 levels stay far from overflow."""
INT64_END = 2.0**63
"""The first number above those of 64 bits with a sign; a double holds it exactly."""
