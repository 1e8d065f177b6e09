"""The two Feast stores of this project, and what they need to find their servers."""
