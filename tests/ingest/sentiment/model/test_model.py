"""Scoring, with tiny models of the real classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ingest.sentiment.model.labels import ModelError
from ingest.sentiment.model.model import fastest_cpu_dtype, load
from tests.ingest.sentiment import tiny

ORDERS = [tiny.FINBERT, tiny.FINBERT_TONE, tiny.CRYPTOBERT]


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
    model = tiny.load_tiny(tmp_path)
    scores = model.score(["up", "down", "flat"])
    assert tiny.likeliest(scores) == [0, 1, 2]
    assert all(s is not None and min(s) >= 0.0 and abs(sum(s) - 1.0) < 1e-6 for s in scores)
    assert model.kind == ("roberta" if roberta else "bert")


def test_swapped_names_swap_the_scores(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    tiny.rename_labels(tmp_path, {0: "negative", 1: "positive", 2: "neutral"})
    assert tiny.likeliest(tiny.load_tiny(tmp_path).score(["up", "down", "flat"])) == [1, 0, 2]


def test_what_says_nothing_has_no_score_and_order_is_kept(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = tiny.load_tiny(tmp_path)
    assert model.score([]) == []
    scores = model.score(["", "down", "@bob https://a.b", "flat flat", "\x00", "up"])
    assert [s is None for s in scores] == [True, False, True, False, True, False]
    assert tiny.likeliest([s for s in scores if s]) == [1, 2, 0]


def test_scores_do_not_depend_on_the_company(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = tiny.load_tiny(tmp_path)
    texts = [("up " * (i % 17 + 1) + "down " * (i % 5)).strip() for i in range(600)]  # more than two windows
    together = model.score(texts)
    alone = [model.score([t])[0] for t in texts[:40]]
    assert near(together[:40], alone)


def test_news_is_the_mean_of_its_sentences(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = tiny.load_tiny(tmp_path)
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
    score = tiny.load_tiny(tmp_path).score([text])[0]
    assert score is None or abs(sum(score) - 1.0) < 1e-6


def test_a_batch_that_does_not_fit_is_halved_and_the_budget_stays_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.save(tmp_path, tiny.FINBERT)
    model = tiny.load_tiny(tmp_path)
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
    model = tiny.load_tiny(tmp_path)

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
