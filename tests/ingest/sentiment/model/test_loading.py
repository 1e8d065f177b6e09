"""Loading of models from folders and the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from ingest.sentiment.model import loading
from ingest.sentiment.model.labels import ModelError
from ingest.sentiment.model.model import load
from tests.ingest.sentiment import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "names", [{0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "positive", 1: "positive", 2: "neutral"}]
)
def test_names_that_mean_nothing_are_an_error(tmp_path: Path, names: dict[int, str]) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    tiny.rename_labels(tmp_path, names)
    with pytest.raises(ModelError, match="output"):
        tiny.load_tiny(tmp_path)


def test_an_encoder_without_a_classifier_is_an_error(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        id2label=tiny.FINBERT, label2id={v: k for k, v in tiny.FINBERT.items()},
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no weights for classifier\.bias"):
        tiny.load_tiny(tmp_path)


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_broken_folder_is_an_error_that_names_it(tmp_path: Path, broken: str) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    (tmp_path / broken).write_text("nothing")
    with pytest.raises(ModelError, match=str(tmp_path)):
        tiny.load_tiny(tmp_path)


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
    assert tiny.likeliest(model.score(["up", "down"])) == [0, 1]
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
    model = tiny.load_tiny(folder, COMMIT)
    assert (model.name, model.revision) == ("someone/model", COMMIT)
    assert tiny.likeliest(model.score(["up", "down", "flat"])) == [0, 1, 2]
    with pytest.raises(ModelError, match="not at"):
        load(str(folder), revision=COMMIT[::-1], device="cpu")
    loading.prepare(str(folder), None, folder)  # again, over itself
    (folder / "prepared.json").write_text("{")
    with pytest.raises(ModelError, match="prepare-model again"):
        tiny.load_tiny(folder)


def test_prepare_does_not_write_into_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="name another folder"):
        loading.prepare("embedded", None, tmp_path)


def test_a_folder_is_named_by_itself_and_a_hash_of_its_files(tmp_path: Path) -> None:
    tiny.save(tmp_path / "mine", tiny.FINBERT)
    shutil.copytree(tmp_path / "mine", tmp_path / "other")
    (tmp_path / "other" / "README.md").write_text("decides no score")
    mine, other = (loading.load_files(str(tmp_path / n), None) for n in ("mine", "other"))
    assert (mine.name, other.name) == ("mine", "other")
    assert mine.revision == other.revision
    assert mine.revision.startswith("sha256:")


@pytest.mark.parametrize("is_prepared", [False, True])
def test_corrected_labels_or_another_vocabulary_are_another_revision(tmp_path: Path, is_prepared: bool) -> None:
    folder = tmp_path / "m"
    tiny.save(folder, tiny.FINBERT)
    if is_prepared:
        loading.prepare(str(folder), None, tmp_path / "prepared")
        folder = tmp_path / "prepared"
    revisions = [loading.load_files(str(folder), None).revision]
    tiny.rename_labels(folder, {0: "negative", 1: "positive", 2: "neutral"})
    revisions.append(loading.load_files(str(folder), None).revision)
    words = folder / "tokenizer.json"
    words.write_text(words.read_text().replace('"up"', '"upwards"'))
    revisions.append(loading.load_files(str(folder), None).revision)
    assert len(set(revisions)) == 3
