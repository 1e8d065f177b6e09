"""The lake: rows of closed days as Delta tables, which joins read instead of the database where both hold the same rows."""
