"""Recordings: each file format parsed into messages and refused lines. Nothing here writes to a server."""
