"""The page of the catalogue."""

import json
from pathlib import Path

import pytest

from ingest.cli import features, main
from transforms.catalog import VIEWS, Feature

PAGE = Path(__file__).parents[3] / "docs" / "features.md"


def test_the_page_is_the_catalogue_as_it_is_now():
    assert PAGE.read_text() == features.page(), "regenerate it: python -m ingest features > docs/features.md"


def test_every_feature_has_a_line_with_its_type_unit_and_range():
    every = [line for line in features.page().splitlines() if line.startswith("| `")]
    assert len(every) == sum(len(view.features) for view in VIEWS)
    lines = {line.split(" | ")[0]: line for line in every}
    assert lines["| `spread_pct`"].startswith(
        "| `spread_pct` | Float64 | % | [0, 200] | spread/m\\*100 | no valid book |"
    )
    assert lines["| `tweet_count`"].startswith("| `tweet_count` | Int64 | posts | [0, inf) |")


def test_a_formula_cannot_break_the_table():
    feature = Feature("x", "", 0, 1, "|a| * b_c < d")
    assert features._cells(feature)[4] == "\\|a\\| \\* b\\_c \\< d"


def test_the_command_prints_the_page_or_json(capsys: pytest.CaptureFixture[str]):
    assert main(["features"]) == 0
    assert capsys.readouterr().out == features.page()
    assert main(["features", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in rows] == [name for view in VIEWS for name in view.names]
    assert next(r for r in rows if r["name"] == "bid_volume")["high"] is None
