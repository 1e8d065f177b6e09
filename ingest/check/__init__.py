"""Checks that a user can run on any recording: no look-ahead, and values that do not depend on where the history began."""
