"""Objects beside the tape, in a folder and on S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.tape.store import Store


@pytest.fixture(params=["folder", "S3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store in an empty place."""
    return Store(str(tmp_path / "tape") if request.param == "folder" else str(request.getfixturevalue("bucket")))


def test_an_object_takes_the_place_of_the_others_in_its_folder_alone(store: Store) -> None:
    for name in ("states/a/1", "states/a/2", "states/b/1"):
        store.write(name, [name])
    store.replace("states/a", "3", ["new"])
    found = {name: store.read(f"states/{name}") for name in ("a/1", "a/2", "a/3", "b/1")}
    assert found == {"a/1": None, "a/2": None, "a/3": ["new"], "b/1": ["states/b/1"]}
    store.replace("states/a", "3", ["newer"])
    assert store.read("states/a/3") == ["newer"] and store.has("states/a/3")


def test_a_folder_is_deleted_with_its_objects_and_one_that_is_not_there_is_no_error(store: Store) -> None:
    store.delete("states/a")
    store.write("states/a/1", [1])
    store.delete("states/a")
    assert not store.has("states/a/1") and store.read("states/a/1") is None
    store.delete("states/a")
