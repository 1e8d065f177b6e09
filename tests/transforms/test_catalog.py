"""The list of features."""

from __future__ import annotations

import pytest

from transforms.catalog import VIEWS, view_of


def test_a_feature_is_of_the_one_view_that_declares_it() -> None:
    assert view_of("vpin").name == "order_flow"
    names = [name for view in VIEWS for name in view.names]
    assert len(names) == len(set(names))


def test_a_name_that_no_view_declares_is_refused() -> None:
    with pytest.raises(KeyError, match="no feature 'vpim' in the catalogue"):
        view_of("vpim")
