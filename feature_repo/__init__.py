"""The Feast repository. Only ``feature_repo.stores`` is imported as a package; Feast imports the rest by file."""
