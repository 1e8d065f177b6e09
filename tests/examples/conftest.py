"""The examples as modules: they are programs beside the packages, not parts of one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.conftest import pipeline, store

__all__ = ["pipeline", "store"]
EXAMPLES = Path(__file__).parents[2] / "examples"


def _load(name: str) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def signal_service() -> Iterator[ModuleType]:
    """``examples/signal_service.py``."""
    yield from _load("signal_service")


@pytest.fixture
def train_model() -> Iterator[ModuleType]:
    """``examples/train_model.py``."""
    yield from _load("train_model")


@pytest.fixture
def serve_model(train_model: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """``examples/serve_model.py``, beside the program that trained its model."""
    monkeypatch.setitem(sys.modules, "train_model", train_model)
    yield from _load("serve_model")
