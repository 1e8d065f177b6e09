"""Texts laid end to end give what transformers gives for each of them."""

from __future__ import annotations

import itertools
import random
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
)

from ingest.sentiment.model import encoder as encoder_module
from ingest.sentiment.model import loading
from ingest.sentiment.model.batches import PaddedModel
from ingest.sentiment.model.encoder import PackedEncoder, is_packable
from ingest.sentiment.model.model import TOKENS_MAX, SentimentModel, load, tokeniser
from tests.ingest.sentiment import tiny

CPU = torch.device("cpu")
LENGTHS = [9, 9, 2, 30, 3, 3, 3, 17, 1, 30]


def classifier(folder: Path, *, roberta: bool) -> PreTrainedModel:
    """A model of the real class whose every weight is random, biases and norms too."""
    tiny.save(folder, tiny.FINBERT, roberta=roberta)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa")
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def texts(lengths: list[int]) -> list[list[int]]:
    rng = random.Random(5)
    return [[rng.randint(5, 17) for _ in range(n)] for n in lengths]


def as_transformers_does(model: Any, some: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model(input_ids=torch.tensor([t])).logits for t in some])


@pytest.mark.parametrize("roberta", [False, True], ids=["bert", "roberta"])
def test_packed_texts_have_the_logits_that_transformers_gives_each(tmp_path: Path, roberta: bool) -> None:
    model = classifier(tmp_path, roberta=roberta)
    expected = as_transformers_does(model, texts(LENGTHS))
    assert expected.std() > 0.1  # the logits do differ
    assert is_packable(model)
    encoder = PackedEncoder(model, CPU, torch.float32)
    torch.testing.assert_close(encoder(texts(LENGTHS)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(texts(LENGTHS)[:1]), expected[:1], rtol=1e-4, atol=1e-5)


def attention_of_each(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: torch.Tensor,
    max_q: int, max_k: int,
) -> torch.Tensor:  # fmt: skip
    """What ``torch.nn.attention.varlen.varlen_attn``, which needs a GPU, is documented to compute, text by text."""
    assert (cu_seq_q.dtype, cu_seq_k.dtype) == (torch.int32, torch.int32)
    assert (max_q, max_k) == (int(cu_seq_q.diff().max()), int(cu_seq_k.diff().max()))
    out = []
    for q0, q1, k0, k1 in zip(cu_seq_q[:-1], cu_seq_q[1:], cu_seq_k[:-1], cu_seq_k[1:], strict=True):
        scores = torch.einsum("qhd,khd->hqk", query[q0:q1], key[k0:k1]) / query.shape[-1] ** 0.5
        out.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), value[k0:k1]))
    assert int(cu_seq_q[-1]) == len(query)
    assert int(cu_seq_k[-1]) == len(key) == len(value)
    return torch.cat(out)


@pytest.mark.parametrize("lengths", [LENGTHS, [7], [1, 1, 1]])
def test_attention_for_all_texts_in_one_call_gives_the_same_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: list[int]
) -> None:
    names = list(signature(attention_of_each).parameters)
    assert list(signature(encoder_module.varlen_attn).parameters)[: len(names)] == names
    encoder = PackedEncoder(classifier(tmp_path, roberta=False), CPU, torch.float32)
    expected = encoder(texts(lengths))
    calls = []
    monkeypatch.setattr(encoder_module, "varlen_attn", lambda *args: calls.append(args) or attention_of_each(*args))
    monkeypatch.setattr(encoder, "_attends_at_once", True)
    torch.testing.assert_close(encoder(texts(lengths)), expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == 2, "one call a layer, whatever the lengths"


def test_many_texts_of_one_length_are_attended_to_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(tmp_path, roberta=False)
    some = texts([4] * 7 + [3])
    whole = PackedEncoder(model, CPU, torch.float32)(some)
    monkeypatch.setattr("ingest.sentiment.model.encoder._RUN_MAX", 3)
    torch.testing.assert_close(PackedEncoder(model, CPU, torch.float32)(some), whole, rtol=1e-5, atol=1e-6)


def test_low_precision_is_of_matrix_products_only(tmp_path: Path) -> None:
    model = classifier(tmp_path, roberta=False)
    exact = PackedEncoder(model, CPU, torch.float32)(texts(LENGTHS)).softmax(-1)
    low = PackedEncoder(model, CPU, torch.bfloat16)(texts(LENGTHS))
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.softmax(-1), exact, rtol=0, atol=0.02)


def test_a_compiled_encoder_is_one_graph_for_any_number_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(tmp_path, roberta=False)
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:  # runs what was traced; making machine code of it takes a minute
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    encoder = PackedEncoder(model, CPU, torch.float32, compiled=True)
    for lengths in (LENGTHS, [5], [7, 7, 7, 2]):
        expected = as_transformers_does(model, texts(lengths))
        torch.testing.assert_close(encoder(texts(lengths)), expected, rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1


def test_a_model_of_another_architecture_is_left_to_transformers(tmp_path: Path) -> None:
    id2label = tiny.FINBERT_TONE
    config = DistilBertConfig(
        vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=64,
        id2label=id2label, label2id={name: i for i, name in id2label.items()},
    )  # fmt: skip
    torch.manual_seed(3)
    made = DistilBertForSequenceClassification(config).eval()
    made.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model = load(str(tmp_path), device="cpu")
    assert isinstance(model._forward, PaddedModel)
    assert model.dtype == torch.float32  # bf16 throughout would move its probabilities by more than 0.01
    said = ["up", "the btc is down down", "flat"]
    for text, score in zip(said, model.score(said), strict=True):
        [logits] = as_transformers_does(made, tiny.tokenizer()([text])["input_ids"])
        assert score == pytest.approx(logits.softmax(-1)[[1, 2, 0]].tolist(), abs=1e-6)


def test_the_tokenizer_gives_what_transformers_gives() -> None:
    folder = loading.embedded.encoder_folder()
    whole = loading.AutoTokenizer.from_pretrained(folder)
    said = ["", "$BTC up", "a@b [SEP] é 比特币 🚀", "word " * 500, "x" * 10_000]
    expected = whole(said, truncation=True, max_length=TOKENS_MAX)["input_ids"]
    assert tokeniser(loading.AutoTokenizer.from_pretrained(folder))(said) == expected
    assert max(map(len, expected)) == TOKENS_MAX

    class WithoutBackend:
        """A tokenizer written in Python, as some models have."""

        model_max_length = whole.model_max_length

        def __call__(self, *args: Any, **options: Any) -> Any:
            return whole(*args, **options)

    assert tokeniser(WithoutBackend())(said) == expected
    assert tokeniser(WithoutBackend())([]) == []


@pytest.fixture(scope="module")
def minilm() -> SentimentModel:
    return SentimentModel(loading.load_files("embedded", None), CPU, torch.float32)


def test_the_embedded_model_scores_a_text_alike_in_any_company(minilm: SentimentModel) -> None:
    rng = random.Random(11)
    words = ["profit", "loss", "shares", "surge", "bitcoin", "crash", "record", "weak", "cut", "$TSLA"]
    said = [" ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(40)]
    together = minilm.score(said)
    for order in (said[::-1], sorted(said), said[:7]):
        for text, score in zip(order, minilm.score(order), strict=True):
            assert score == pytest.approx(together[said.index(text)], abs=2e-6)
    for text, expected in itertools.islice(zip(said, together, strict=True), 10):
        assert minilm.score([text])[0] == pytest.approx(expected, abs=2e-6)
