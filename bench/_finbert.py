"""What ``finbert_cpu`` and ``finbert_gpu`` share: BERT-base with random weights, texts of tweet length, and turns that are timed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ingest.sentiment.model.embedded import encoder_folder
from ingest.sentiment.model.labels import LABELS
from ingest.sentiment.model.loading import Loaded
from ingest.sentiment.model.model import SentimentModel

MEAN_TOKENS = 28
HIDDEN, INTERMEDIATE, LAYERS = 768, 3072, 12
ROUNDS = 3
DISTANCE_TEXTS = 64
OPERATIONS = 2 * LAYERS * (4 * HIDDEN**2 + 2 * HIDDEN * INTERMEDIATE)
"""Operations a token of the matrix products: two a weight. Attention itself is under 1 % of them at this length."""


def tweets(tokenizer: Any, n: int) -> tuple[list[str], int]:
    """``n`` seeded texts of 6 to 80 tokens, 28 on average with the two special ones, and how many tokens they have."""
    rng = random.Random(7)
    words = sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and w.islower() and len(w) > 2)
    lengths = [min(80, max(6, round(rng.gammavariate(4.0, MEAN_TOKENS / 4.0)))) for _ in range(n)]
    return [" ".join(rng.choices(words, k=length - 2)) for length in lengths], sum(lengths)


class Setting:
    """Stock transformers and ours, of the same weights."""

    def __init__(self, n: int, device: torch.device, dtype: torch.dtype, *, compiled: bool = False) -> None:
        torch.manual_seed(7)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(encoder_folder())
        config = BertConfig(num_labels=3, id2label=dict(enumerate(LABELS)), attn_implementation="sdpa")
        self.stock = BertForSequenceClassification(config).eval()
        self.device = device
        self.ours = self._model(dtype, compiled)
        self.texts, self.tokens = tweets(self.tokenizer, n)
        self.about = {"dtype": str(dtype), "threads": torch.get_num_threads(), "compiled": compiled}

    def _model(self, dtype: torch.dtype, compiled: bool) -> SentimentModel:
        copy = BertForSequenceClassification(self.stock.config)
        copy.load_state_dict(self.stock.state_dict())
        loaded = Loaded("bert-base-random", "seed 7", copy, AutoTokenizer.from_pretrained(encoder_folder()), (0, 1, 2))
        return SentimentModel(loaded, self.device, dtype, compiled=compiled)

    def distance(self) -> float:
        """The largest distance of a probability of ours from transformers in float32, one text at a time."""
        some = self.texts[:DISTANCE_TEXTS]
        exact = naive(self.stock.to(device=self.device, dtype=torch.float32), self.tokenizer, some, 1)
        pairs = zip(self.ours.score(some), exact, strict=True)
        return max(abs(x - y) for a, b in pairs if a for x, y in zip(a, b, strict=True))


def naive(model: Any, tokenizer: Any, texts: Sequence[str], size: int) -> list[list[float]]:
    """Stock transformers, ``size`` texts at a time in the order of arrival, padded to the longest."""
    out: list[list[float]] = []
    with torch.inference_mode():
        for i in range(0, len(texts), size):
            batch = tokenizer(texts[i : i + size], padding=True, truncation=True, max_length=128, return_tensors="pt")
            out += model(**batch.to(model.device)).logits.float().softmax(-1).tolist()
    return out


def rates(works: dict[str, tuple[int, Callable[[], object]]], rounds: int = ROUNDS) -> dict[str, float]:
    """Texts a second of each, the best of some rounds in which they take turns: what disturbs one disturbs all."""
    best = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, (n, work) in works.items():
            begin = time.perf_counter()
            work()
            best[name] = max(best[name], n / (time.perf_counter() - begin))
    return best


def compare(bench: str, setting: Setting, peers: dict[str, tuple[int, int]]) -> float:
    """Ours on all texts against stock transformers on the first of them; print a line a peer, return our texts a second.

    ``peers`` names how many texts each peer is given, and how many at a time.
    """
    s = setting
    for name, (few, size) in peers.items():
        naive(s.stock, s.tokenizer, s.texts[: min(few, 16)], size)
        assert few <= len(s.texts), name
    s.ours.score(s.texts[: s.ours.window])
    works: dict[str, tuple[int, Callable[[], object]]] = {"ours": (len(s.texts), partial(s.ours.score, s.texts))}
    works |= {k: (few, partial(naive, s.stock, s.tokenizer, s.texts[:few], size)) for k, (few, size) in peers.items()}
    found = rates(works)
    texts_s = found["ours"]
    for name in peers:
        say(bench=bench, size=len(s.texts), ours=texts_s, peer_name=f"transformers, {name}", peer=found[name],
            ratio=texts_s / found[name], unit="texts/s", tokens_s=texts_s * s.tokens / len(s.texts), **s.about)  # fmt: skip
    return texts_s


def host(bench: str, setting: Setting, n: int) -> None:
    """What a text costs beside the device: everything that ``score`` does, with nothing in the place of the model."""
    s = setting
    forward, s.ours._forward = s.ours._forward, lambda texts: torch.zeros(len(texts), len(LABELS))
    texts, _ = tweets(s.tokenizer, n)
    s.ours.score(texts[: s.ours.window])
    wall = cpu = float("inf")
    for _ in range(ROUNDS):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        s.ours.score(texts)
        wall, cpu = min(wall, time.perf_counter() - begin), min(cpu, time.process_time() - begin_cpu)
    s.ours._forward = forward
    say(bench=f"{bench}_host", size=n, ours=wall / n * 1e6, unit="us a text", core_us=cpu / n * 1e6, **s.about)


def say(**line: Any) -> None:
    """Print one line; numbers to four digits."""
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)
