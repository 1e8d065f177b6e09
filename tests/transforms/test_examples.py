"""Every module of a feature shows how it is computed, with an example that test_repository runs."""

from pathlib import Path

import pytest

import transforms

ROOT = Path(transforms.__file__).parent
WITHOUT_FEATURES = {"__init__", "kernel", "layout", "state"}
MODULES = [p for p in sorted(ROOT.glob("*/*.py")) if p.stem not in WITHOUT_FEATURES]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_module_of_a_feature_has_an_example(path: Path) -> None:
    assert ">>> " in path.read_text()
