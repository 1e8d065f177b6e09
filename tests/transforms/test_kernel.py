"""Vectors, in plain Python and compiled."""

from __future__ import annotations

from transforms.kernel import from_bytes, to_bytes, vector, zeros


def test_a_vector_holds_floats() -> None:
    assert [float(x) for x in vector([1, 2.5])] == [1.0, 2.5]
    assert [float(x) for x in zeros(2)] == [0.0, 0.0]


def test_a_state_is_the_same_after_a_trip_through_bytes() -> None:
    state = vector([1.0, -0.0, 2.0**53])
    assert to_bytes(from_bytes(to_bytes(state))) == to_bytes(state)
    assert len(to_bytes(state)) == 24
