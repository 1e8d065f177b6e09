"""The fitted tables of ``microprice``: fitted to stored history, kept in the database, published to the logs."""
