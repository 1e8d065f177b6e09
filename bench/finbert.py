"""Speed of scoring: texts and tokens a second of BERT-base, as FinBERT is, with random weights and texts of tweet length.

Prints one JSON object a line. ``finbert_gpu`` runs where CUDA is, ``finbert_cpu`` elsewhere. The peers are what stock
transformers does: one text at a time, and batches of 8 in the order of arrival, padded to the longest; on a CPU in float32,
on a GPU in our precision. All of them tokenise. On a GPU also the share of the measured rate of matrix products, and the
largest distance of a probability from float32.

    python -m bench.finbert [--texts N]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from ingest.sentiment.embedded import encoder_folder
from ingest.sentiment.labels import LABELS
from ingest.sentiment.loading import Loaded
from ingest.sentiment.model import SentimentModel, fastest_cpu_dtype

MEAN_TOKENS = 28
HIDDEN, INTERMEDIATE, LAYERS = 768, 3072, 12
ROUNDS = 3


def tweets(tokenizer: Any, n: int) -> tuple[list[str], int]:
    """``n`` seeded texts of 6 to 80 tokens, 28 on average with the two special ones, and how many tokens they have."""
    rng = random.Random(7)
    words = sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and w.islower() and len(w) > 2)
    lengths = [min(80, max(6, round(rng.gammavariate(4.0, MEAN_TOKENS / 4.0)))) for _ in range(n)]
    return [" ".join(rng.choices(words, k=length - 2)) for length in lengths], sum(lengths)


def rates(works: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """Texts a second of each, the best of some rounds in which they take turns: what disturbs one disturbs all."""
    best = dict.fromkeys(works, 0.0)
    for _ in range(rounds):
        for name, (n, work) in works.items():
            begin = time.perf_counter()
            work()
            best[name] = max(best[name], n / (time.perf_counter() - begin))
    return best


def naive(model: Any, tokenizer: Any, texts: list[str], size: int) -> None:
    """Stock transformers, ``size`` texts at a time."""
    with torch.inference_mode():
        for i in range(0, len(texts), size):
            batch = tokenizer(texts[i : i + size], padding=True, truncation=True, max_length=128, return_tensors="pt")
            model(**batch.to(model.device)).logits.float().softmax(-1).tolist()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, measured."""
    n = 8192
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    for _ in range(5):
        torch.mm(a, b)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(20):
        torch.mm(a, b)
    torch.cuda.synchronize()
    return 20 * 2 * n**3 / (time.perf_counter() - begin)


def say(**line: Any) -> None:
    """Print one line; rates to four digits."""
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def main() -> None:
    """Measure on the GPU, or on the CPU where there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, help="texts to score (default: 65536 on a GPU, 128 on a CPU)")
    args, _ = parser.parse_known_args()  # `python -m bench` leaves the names of benchmarks there
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    n = args.texts or (65_536 if gpu else 128)

    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    config = BertConfig(num_labels=3, id2label=dict(enumerate(LABELS)), attn_implementation="sdpa")
    stock = BertForSequenceClassification(config).eval()
    dtype = torch.bfloat16 if gpu else fastest_cpu_dtype(HIDDEN)
    copy = BertForSequenceClassification(config)
    copy.load_state_dict(stock.state_dict())
    ours = SentimentModel(Loaded("bert-base-random", "seed 7", copy, tokenizer, (0, 1, 2)), device, dtype)
    texts, tokens = tweets(tokenizer, n)

    bench = "finbert_gpu" if gpu else "finbert_cpu"
    about = {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "dtype": str(dtype),
        "threads": torch.get_num_threads(),
    }
    if gpu:
        some = texts[:2048]
        exact = SentimentModel(Loaded("exact", "", stock, tokenizer, (0, 1, 2)), device, torch.float32).score(some)
        pairs = zip(ours.score(some), exact, strict=True)
        distance = max(abs(x - y) for a, b in pairs if a and b for x, y in zip(a, b, strict=True))
        say(bench=bench, size=len(some), ours=distance, unit="largest distance of a probability from float32", **about)
        stock.to(device=device, dtype=dtype)
    single, eights = texts[: n // 32 if gpu else n // 8], texts[: n // 8 if gpu else n // 2]
    peers = {"one at a time": (single, 1), "batches of 8": (eights, 8)}
    for few, size in peers.values():
        naive(stock, tokenizer, few[:16], size)
    ours.score(texts[:512])
    works: dict[str, tuple[int, Callable[[], object]]] = {"ours": (n, lambda: ours.score(texts))}
    works |= {k: (len(few), partial(naive, stock, tokenizer, few, size)) for k, (few, size) in peers.items()}
    found = rates(works, ROUNDS)
    texts_s = found["ours"]
    for name in peers:
        peer = found[name]
        say(bench=bench, size=n, ours=texts_s, peer_name=f"transformers, {name}", peer=peer, ratio=texts_s / peer,
            unit="texts/s", tokens_s=texts_s * tokens / n, **about)  # fmt: skip
    if gpu:
        # two operations a weight and token; attention itself is under 1 % of it at this length
        work = 2 * LAYERS * (4 * HIDDEN**2 + 2 * HIDDEN * INTERMEDIATE) * tokens / n
        peak = matrix_rate(device, dtype)
        say(bench=bench, size=n, ours=texts_s * work, peer_name="torch.mm of 8192", peer=peak, ratio=texts_s * work / peak,
            unit="operations/s", **about)  # fmt: skip


if __name__ == "__main__":
    main()
