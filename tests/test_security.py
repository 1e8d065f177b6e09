"""The page on security names tests; they are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/security.md").read_text()


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`tests/((?:[\w/]+/)?test_\w+\.py)(?:::(test_\w+))?`", PAGE))
    assert len(named) > 30
    for file, test in sorted(named):
        tree = ast.parse((TESTS / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not test or test in functions, f"{file}::{test}"


def test_no_page_starts_feasts_ui_where_others_can_reach_it() -> None:
    pages = [
        TESTS.parent / "README.md",
        *(TESTS.parent / "docs").glob("*.md"),
        *(TESTS.parent / "examples").glob("*.py"),
    ]
    started = [command for page in pages for command in re.findall(r"feast -c \S+ ui\b[^`\n]*", page.read_text())]
    assert started
    assert all("--host 127.0.0.1" in command for command in started)
