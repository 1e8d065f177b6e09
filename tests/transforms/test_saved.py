"""Saved states: kernels of another version begin anew alone, and all others go on to the bit."""

from __future__ import annotations

import zlib
from functools import cache

import msgspec
import numpy as np
import pytest

from tests.transforms import two_days
from tests.transforms.two_days import BUSY, CUT, END, MIDNIGHT, Rows, S, digest, play
from transforms import kernels, saved
from transforms.catalog import VIEW, view_of
from transforms.engine import Engine
from transforms.kernels import KERNEL, with_users
from transforms.layouts import layouts
from transforms.packing import pack, unpack
from transforms.saved import VersionError


@cache
def at_the_cut() -> dict[str, bytes]:
    whole = two_days.engine()
    play(whole, MIDNIGHT, CUT)
    return whole.save()


def restored(parts: dict[str, bytes]) -> Engine:
    engine = two_days.engine()
    engine.restore(parts)
    return engine


@cache
def undisturbed() -> Rows:
    return play(restored(at_the_cut()), CUT, END)


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch):
    """Let kernels be of another version here."""

    def change(*names: str) -> None:
        versions = tuple((name, version + (name in names)) for name, version in kernels.VERSIONS)
        monkeypatch.setattr(kernels, "VERSIONS", versions)

    return change


def values(rows: Rows, feature: str, view: str) -> dict[int, float]:
    at = VIEW[view].index[feature]
    return {second: float(np.frombuffer(of[view])[at]) for second, of in rows.items() if view in of}


@cache
def of_every_feature() -> dict[tuple[str, str], dict[int, float]]:
    return by_feature(undisturbed())


def by_feature(rows: Rows) -> dict[tuple[str, str], dict[int, float]]:
    return {(view.name, name): values(rows, name, view.name) for view in VIEW.values() for name in view.names}


def bits(x: float | None) -> bytes:
    return np.float64(x).tobytes()


NORMALISED = {kernel.name for kernel in kernels.ALL} - {kernel.name for kernel in kernels.RAW}
STATES = sorted(({name for layout in layouts(S).values() for name, _ in layout} | {"posts"}) - NORMALISED)
OF_THE_FEED = {
    "book": "microstructure",
    "trades": "order_flow",
    "prices": "technical",
    "posts": "sentiment",
    "derivatives": "derivatives",
}
"""Kernels that know when a feed was heard: without their state a view has no row until it is heard again."""


@pytest.mark.parametrize("kernel", [*STATES, "vpin_n", "spread_pct_z"])
def test_a_kernel_of_another_version_begins_anew_alone(kernel: str, changed) -> None:
    parts, whole = at_the_cut(), of_every_feature()
    changed(kernel)
    engine = restored(parts)
    anew = with_users({kernel})
    assert engine.anew == anew
    until = MIDNIGHT + 2 * 86_400 + 120
    rows = play(engine, CUT, until)
    differ = {feature for name in anew for feature in KERNEL[name].features}
    for (view, feature), theirs in whole.items():
        if feature in differ:
            continue
        ours = values(rows, feature, view)
        if kernel not in OF_THE_FEED:
            assert ours.keys() == {second for second in theirs if second <= until}
        assert all(bits(x) == bits(theirs[second]) for second, x in ours.items()), feature


EXACT = (
    "book", "book_flow", "session", "trade_volume", "amihud", "roll", "realized_spread", "bucket_volume", "vpin", "momentum", "volatility",
    "ranges", "rsi", "ema", "bollinger", "atr", "volume_profile", "relative_volume", "open_interest", "liquidations",
)  # fmt: skip
"""Kernels that are null until they know all that their value needs."""
DAYS = ("bucket_volume", "vpin", "vpin_n", "rsi", "rsi_14_n", "ema", "atr", "relative_volume")
"""Those of them that need more than the seventy minutes that follow here: days, or 250 bars."""


@pytest.mark.parametrize("kernel", EXACT)
def test_a_kernel_that_begins_anew_has_the_value_of_before_or_none(kernel: str, changed) -> None:
    parts, whole = at_the_cut(), undisturbed()
    changed(kernel)
    rows = play(restored(parts), CUT, END)
    nulls = 0
    for name in with_users({kernel}):
        for feature in KERNEL[name].features:
            if feature.endswith(("_z", "_valid", "_complete")):
                continue  # a z-score needs 300 values, whatever their age; the others say what is known
            view = view_of(feature).name
            ours, theirs = values(rows, feature, view), values(whole, feature, view)
            known = {second for second, x in ours.items() if x == x}
            assert all(bits(ours[second]) == bits(theirs[second]) for second in known), feature
            nulls += sum(theirs[second] == theirs[second] for second in ours.keys() - known)
            if name in (
                "book_flow",
                "session",
                "trade_volume",
                "amihud",
                "roll",
                "realized_spread",
                "momentum",
                "volatility",
                "volume_profile",
                "open_interest",
                "liquidations",
            ):
                last = max(theirs)
                assert bits(ours[last]) == bits(theirs[last]), (
                    f"{feature} is known again within 62 minutes and a midnight"
                )
    assert nulls or kernel in ("book", "relative_volume", "vpin", "bucket_volume")


def test_a_change_of_a_formula_resets_only_what_is_made_of_its_values(changed) -> None:
    parts = at_the_cut()
    changed("mid")
    assert restored(parts).anew == {"spread_pct_z"}
    changed("calendar")
    assert restored(parts).anew == {"spread_pct_z", "market_hour_n", "day_of_week_n"}


def test_a_formula_that_no_state_is_made_of_changes_no_byte(changed) -> None:
    parts = at_the_cut()
    changed("social", "depth", "microprice", "trade_valid")
    engine = restored(parts)
    assert not engine.anew
    assert engine.save() == parts


def test_a_version_that_goes_back_finds_what_the_other_one_left(changed, monkeypatch) -> None:
    parts = at_the_cut()
    versions = kernels.VERSIONS
    changed("rsi")
    newer = restored(parts)
    assert newer.anew == {"rsi", "rsi_14_n"}
    assert not restored(newer.save()).anew
    left = newer.save()
    monkeypatch.setattr(kernels, "VERSIONS", versions)
    assert restored(left).anew == {"rsi", "rsi_14_n"}


def test_a_state_of_the_format_before_goes_on() -> None:
    parts, expected = msgspec.msgpack.decode(zlib.decompress(two_days.BEFORE.read_bytes()))
    engine = restored(parts)
    assert not engine.anew
    assert digest(play(engine, CUT, END, contract=False)) == expected


def test_a_state_of_the_format_before_is_refused_kernel_by_kernel_too(changed) -> None:
    parts, _ = msgspec.msgpack.decode(zlib.decompress(two_days.BEFORE.read_bytes()))
    changed("volatility")
    anew = with_users({"volatility"})
    engine = restored(parts)
    assert engine.anew == anew


def test_a_state_of_an_unknown_format_is_refused() -> None:
    for text in (b"2.3.6.3.3.1 1000000", b"kernels 2 1000000", b"kernels 1 500000"):
        with pytest.raises(VersionError):
            restored(at_the_cut() | {"engine": text})


def test_pieces_that_moved_are_found_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a code whose technical vector has the same kernels in the opposite order."""
    parts = at_the_cut()
    head, data = saved._split(parts["technical"])
    state = unpack(data, sum(size for _, size in head.layout))
    pieces, at = [], 0
    for name, size in head.layout:
        pieces.append((name, state[at : at + size]))
        at += size
    order = sorted({name for name, _ in pieces}, reverse=True)
    moved = [piece for name in order for piece in pieces if piece[0] == name]
    layout = tuple((name, len(piece)) for name, piece in moved)
    other = saved._pack_head(head._replace(layout=layout)) + pack(np.concatenate([piece for _, piece in moved]))
    engine = restored(parts | {"technical": other})
    assert not engine.anew
    assert engine.save() == parts


def test_a_part_that_an_earlier_code_did_not_have_begins_anew() -> None:
    parts = {name: data for name, data in at_the_cut().items() if not name.startswith("relative")}
    engine = restored(parts)
    assert engine.anew == {"relative_volume"}
    assert engine.save() != at_the_cut()
    assert {name: data for name, data in engine.save().items() if name in parts} == parts


def test_what_the_log_still_has_is_taken_over(changed) -> None:
    parts, whole = at_the_cut(), undisturbed()
    changed("volatility", "trade_volume", "book_flow", "kyle", "posts")
    log = two_days.engine()
    play(log, BUSY, CUT)
    engine = restored(parts)
    engine.take_over(log, late_us=0)
    rows = play(engine, CUT, END)
    for feature in (
        "volatility_15m",
        "trade_count_1m",
        "vwap_5m",
        "ofi_60s",
        "kyle_lambda_5m",
        "tweet_count",
        "cvd",
        "rsi_14",
    ):
        view = view_of(feature).name
        assert values(rows, feature, view) == pytest.approx(values(whole, feature, view), abs=0, nan_ok=True), feature


def test_a_session_that_the_log_has_in_part_is_not_taken_over(changed) -> None:
    parts, whole = at_the_cut(), undisturbed()
    changed("session", "volume_profile")
    log = two_days.engine()
    play(log, BUSY, CUT)
    engine = restored(parts)
    engine.take_over(log, late_us=0)
    rows = play(engine, CUT, END)
    midnight = MIDNIGHT + 2 * 86_400
    for feature, view in (("cvd", "order_flow"), ("poc", "technical")):
        ours, theirs = values(rows, feature, view), values(whole, feature, view)
        assert all(x != x for second, x in ours.items() if second < midnight)
        assert all(
            x == theirs[second] or theirs[second] != theirs[second] for second, x in ours.items() if second >= midnight
        )


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_a_packed_vector_has_every_bit(size: int) -> None:
    rng = np.random.default_rng(size)
    for share in (0.0, 0.1, 1.0):
        state = np.where(rng.random(size) < share, rng.standard_normal(size), 0.0)
        state[rng.integers(size)] = -0.0
        state[rng.integers(size)] = np.nan
        state[rng.integers(size)] = -np.inf
        assert unpack(pack(state), size).tobytes() == state.tobytes()


def test_a_symbol_that_spoke_once_takes_few_bytes() -> None:
    engine = two_days.engine()
    engine.book(MIDNIGHT * S, [(100.0, 1.0)], [(101.0, 2.0)])
    engine.trade(MIDNIGHT * S, 100.0, 1.0, 1)
    engine.emit(MIDNIGHT * S)
    assert sum(map(len, engine.save().values())) < 3_500
