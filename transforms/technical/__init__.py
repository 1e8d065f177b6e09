"""Features of trade prices: momentum, volatility, indicators of one-minute bars, volume profile, calendar."""
