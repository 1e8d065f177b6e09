"""The list of features."""

from __future__ import annotations

import pytest

from transforms.catalog import VIEWS, view_of


def test_a_feature_is_of_the_one_view_that_declares_it_and_only_minutes_to_funding_is_in_two() -> None:
    assert view_of("vpin").name == "order_flow"
    names = [name for view in VIEWS for name in view.names]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"minutes_to_funding"}
    assert view_of("minutes_to_funding").name == "technical"


def test_a_name_that_no_view_declares_is_refused() -> None:
    with pytest.raises(KeyError, match="no feature 'vpim' in the catalogue"):
        view_of("vpim")
