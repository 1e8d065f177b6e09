"""What is told of a storage that refuses, and how it is reached."""

from __future__ import annotations

import pytest

from feature_repo.stores.delta import options, told
from feature_repo.stores.endpoints import without_secrets


def test_the_keys_of_this_process_are_not_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_secrets("403: hidden is wrong", {"AWS_SECRET_ACCESS_KEY": "hidden"}) == "403: *** is wrong"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hidden")
    assert told(OSError("\x1b[31m403:\n  hidden\x1b[0m is wrong " + "x" * 1000)) == "403: *** is wrong " + "x" * 282


def test_only_a_bucket_has_options_of_s3() -> None:
    assert options("s3://bucket/lake")["conditional_put"] == "etag"
    assert options("/data/lake") == {}
