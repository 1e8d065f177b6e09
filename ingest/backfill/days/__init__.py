"""Backfill from the tape, a day at a time: what a symbol was at the end of each of its days is kept, so that another day begins there."""
