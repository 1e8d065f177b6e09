"""The offline tables: their columns and migration, hypertables, and the upkeep of the database's own jobs."""
