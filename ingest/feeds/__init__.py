"""Recordings and venues' own formats, parsed: bytes in, messages or refusals out; nothing here writes anything."""
