"""Raw tables of trades and books in the offline database, as messages on their way to the tape."""
