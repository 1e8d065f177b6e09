"""What a message is: its kinds, how bytes become one, and why one is refused."""
