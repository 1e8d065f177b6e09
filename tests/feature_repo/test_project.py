"""The project's name has one place."""

from pathlib import Path

import yaml

import feature_repo
from feature_repo.project import project


def test_the_name_is_that_of_the_yaml() -> None:
    text = (Path(feature_repo.__file__).parent / "feature_store.yaml").read_text()
    assert project() == yaml.safe_load(text)["project"]
