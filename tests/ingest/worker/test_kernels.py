"""The kernels of a worker: whoever waits for the compiler is told, and kernels that the image brings are found."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.worker import kernels
from transforms.kernel import _copy


def test_a_compilation_is_told_when_it_begins_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(kernels, "TOLD_S", 0.05)
    monkeypatch.setattr(kernels.compiling, "warm_up", lambda: time.sleep(0.2))
    monkeypatch.setattr(kernels.flat_book, "warm_up", lambda: None)
    kernels.warm_up()
    first, last = caplog.messages
    assert first.startswith("compiling the kernels for this machine")
    assert last.startswith("the kernels are compiled after 0 s")


def test_kernels_that_are_only_loaded_are_not_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(kernels.compiling, "warm_up", lambda: None)
    monkeypatch.setattr(kernels.flat_book, "warm_up", lambda: None)
    kernels.warm_up()
    assert caplog.messages == []


COMPILE_ONE = """
from transforms import kernel, lots
lots.whole(1.5)
print(kernel.numba.config.CACHE_DIR, sum(lots.whole.stats.cache_hits.values()))
"""


def compiled(**environ: str) -> list[str]:
    """The cache folder of a process, and how many kernels it found in it."""
    return subprocess.run(
        [sys.executable, "-c", COMPILE_ONE], env={**os.environ, **environ}, capture_output=True, text=True, check=True
    ).stdout.split()


def test_kernels_that_the_image_compiled_are_found_by_a_user_who_cannot_write_there(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    ahead, cache = tmp_path / "ahead", tmp_path / "cache"
    assert compiled(XDG_CACHE_HOME=str(ahead))[1] == "0", "compiled"
    folder, hits = compiled(XDG_CACHE_HOME=str(cache), TFS_KERNELS=str(ahead))
    assert folder.startswith(str(cache)) and hits == "1", "loaded"


def test_of_two_processes_that_copy_at_once_one_wins(tmp_path: Path) -> None:
    ahead, folder = tmp_path / "ahead", tmp_path / "cache" / "kernels"
    ahead.mkdir()
    (ahead / "a.nbi").write_text("a")
    folder.mkdir(parents=True)
    (folder / "b.nbi").write_text("of the other")
    _copy(ahead, folder)
    assert [path.name for path in folder.iterdir()] == ["b.nbi"]
    assert [path.name for path in folder.parent.iterdir()] == ["kernels"]
