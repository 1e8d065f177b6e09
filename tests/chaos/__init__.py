"""Everything dies, again and again, and every row must come out as if nothing had: see ``python -m tests.chaos --help``."""
