"""What is deleted online when a project is torn down, or a view is no longer defined."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import redis

from feature_repo.stores.online.delete import delete_keys, delete_rows, keys_of
from feature_repo.stores.online.format import SymbolKeys, feature_field, time_field
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import SENTIMENT, SOCIAL

T_US = 1_700_000_000_000_000


def write(client: redis.Redis, project: str, *symbols: str, join_key: str = "symbol") -> set[bytes]:
    for view in (SOCIAL, SENTIMENT):
        times, values = np.full(len(symbols), T_US), np.ones((len(symbols), len(view.names)))
        OnlineWriter(client, project, view, join_key=join_key).write(symbols, times, values)
    return set(SymbolKeys(project, join_key).keys(symbols))


def test_a_teardown_erases_no_project_whose_name_ends_alike(
    stores: Any, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    own = write(redis_client, "trading", "A", "Atrading", "B")
    others = write(redis_client, "papertrading", "A", "B") | write(redis_client, "x_trading", "A")
    assert set(redis_client.keys("*trading")) == own | others  # what a pattern finds
    with caplog.at_level(logging.WARNING):
        stores.online.teardown(stores.ours.config, [stores.ours.get_feature_view("social")], [])
    assert set(redis_client.keys("*")) == others
    assert "deleting 3 entities (symbol) of project trading from Redis at 127.0.0.1" in caplog.text


def test_a_removed_view_leaves_the_rows_of_its_other_views_and_of_other_projects(
    stores: Any, redis_client: redis.Redis
) -> None:
    write(redis_client, "trading", "A")
    write(redis_client, "papertrading", "A")
    paper = redis_client.hgetall(SymbolKeys("papertrading", "symbol").keys(["A"])[0])
    social = stores.ours.get_feature_view("social")
    stores.online.update(stores.ours.config, [social], [], [], [], partial=False)
    (key,), (other,) = (SymbolKeys(project, "symbol").keys(["A"]) for project in ("trading", "papertrading"))
    left = {feature_field("sentiment", name) for name in SENTIMENT.names} | {time_field("sentiment")}
    assert set(redis_client.hkeys(key)) == left
    assert redis_client.hgetall(other) == paper
    stores.online.update(stores.ours.config, [stores.ours.get_feature_view("sentiment")], [], [], [], partial=False)
    assert redis_client.keys("*") == [other]


def test_a_join_key_with_signs_of_a_pattern_is_taken_literally(redis_client: redis.Redis) -> None:
    starred = write(redis_client, "trading", "A", join_key="*" * 42)  # its length is the byte of a star, too
    plain = write(redis_client, "trading", "A", join_key="s" * 42)
    assert set(keys_of(redis_client, "trading", ["*" * 42])) == starred
    assert set(keys_of(redis_client, "trading", ["s" * 42])) == plain


def test_a_row_of_an_older_definition_leaves_with_its_last_view(redis_client: redis.Redis) -> None:
    (key,) = write(redis_client, "trading", "A")
    redis_client.hset(key, "of a dropped feature", "1")
    assert delete_rows(redis_client, [key], "social", SOCIAL.names) == 1
    assert redis_client.hexists(key, "of a dropped feature")
    assert delete_rows(redis_client, [key], "social", SOCIAL.names) == 0
    assert delete_rows(redis_client, [key], "sentiment", SENTIMENT.names) == 1
    assert not redis_client.exists(key)


def test_more_keys_than_one_pipeline_takes_are_all_deleted(redis_client: redis.Redis) -> None:
    symbols = [f"S{i}" for i in range(2_500)]
    keys = SymbolKeys("trading", "symbol").keys(symbols)
    redis_client.execute_command("MSET", *(word for key in keys for word in (key, b"1")))
    found = list(keys_of(redis_client, "trading", ["symbol"]))
    assert sorted(found) == sorted(keys)
    delete_keys(redis_client, found)
    assert redis_client.dbsize() == 0
