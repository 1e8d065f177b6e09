"""Two values agree by their bits."""

import pytest

from ingest.check import result


@pytest.mark.parametrize(("a", "b", "agree"), [(0.0, -0.0, False), (1.0, 1.0, True), (float("nan"), 1.0, False)])
def test_values_are_compared_by_their_bits(a, b, agree):
    one = result.Result("v", "f")
    one.add("A", 0, a, b)
    assert one.differing == (not agree)
