"""The point-in-time join: which statement answers a request, and how the rows are put together."""
