"""The online store: Feast's Redis format, read in one round trip and written under a guard on the server.

`feature_repo.stores.redis` is the class that Feast loads; these modules do its work.
"""
