"""What a perpetual or a future tells besides its book and trades: mark, index, funding, open interest, liquidations."""
