"""Features of the trades, with the book of the same moment where a formula needs a mid."""
