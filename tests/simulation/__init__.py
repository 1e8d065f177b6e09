"""A deterministic simulation of the whole protocol: every part, a server, a database and clocks in one process, driven by a seed."""
