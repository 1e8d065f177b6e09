"""Checks of the features that a user can run: on any recording (look-ahead, warm-up), and on a running system (consistency)."""
