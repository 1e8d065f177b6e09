"""The lake of closed days (``feature_repo.stores.offline.lake``): the role that writes it, and its command."""
