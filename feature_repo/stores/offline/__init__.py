"""The offline store: appends, training joins and their results, on PostgreSQL with or without TimescaleDB.

`feature_repo.stores.timescale` is the class that Feast loads; these modules do its work.
"""
