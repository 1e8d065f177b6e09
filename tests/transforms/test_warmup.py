"""Every feature has a stated warm-up, and a normalised one has its own."""

from transforms.catalog import VIEWS
from transforms.warmup import WarmUp, stated, table


def test_every_feature_has_a_stated_warm_up():
    assert set(table()) == {(view.name, name) for view in VIEWS for name in view.names}


def test_a_normalised_feature_waits_for_its_raw_one_and_the_window_of_its_mean():
    assert stated("buy_volume_1m_z") == WarmUp(61 + 25 * 3600 + 1)
    assert stated("volume_profile_n") == WarmUp(session=True)
