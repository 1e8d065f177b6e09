"""Places for a tape: a folder, and S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.settings import Settings

PARTITIONS = 2


@pytest.fixture(params=["folder", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for a tape that does not exist yet."""
    return str(tmp_path / "tape") if request.param == "folder" else str(request.getfixturevalue("bucket"))


@pytest.fixture
def conf(place: str) -> Settings:
    """The settings of a deployment with a tape there."""
    return Settings(partitions=PARTITIONS, tape=place)


@pytest.fixture
def in_folder(tmp_path: Path) -> Settings:
    """The settings of a deployment with a tape in a folder, for tests that the storage does not matter to."""
    return Settings(partitions=PARTITIONS, tape=str(tmp_path / "tape"))
