"""Backfill: write the features of history to the offline tables, computed in the order and by the kernels of the live worker."""
