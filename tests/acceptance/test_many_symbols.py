"""Symbols that speak once leave the memory of their worker, and a listed one is never turned away; the full size is ``many_symbols``."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.many_symbols import measure


def test_symbols_that_speak_once_give_their_memory_back_and_crowd_no_listed_one_out(
    redis_url: str, tmp_path: Path
) -> None:
    found = measure(redis_url, tmp_path, partitions=2, each=300, trades=False, forget_s=2, emit_ms=1000)
    assert found.most_mib > 1.2 * found.before_mib, "else the test could not fail"
    assert found.after_mib <= 1.2 * found.before_mib
    assert found.leases_lost == found.listed_refused == 0
