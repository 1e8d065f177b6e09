"""What the parts keep in Redis: stream names, reading, leases, dead letters, and what waits."""
