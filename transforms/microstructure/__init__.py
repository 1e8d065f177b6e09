"""Features of the limit order book."""
