"""Fits of the ``microprice`` tables: from stored history into the database and the logs."""
