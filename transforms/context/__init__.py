"""What a symbol's row knows of other symbols: those that its instrument names, by rows that they finished."""
