"""Speed of scoring on a CPU: texts and tokens a second of BERT-base, as FinBERT is, with random weights and texts of tweet length.

Prints one JSON object a line. The peers are what stock transformers does, in float32: one text at a time, and batches of 8 in
the order of arrival. All of them tokenise. ``finbert_cpu_distance`` is how far a probability of ours is from float32, one text
at a time; ``finbert_cpu_host`` is what a text costs beside the model.

    python -m bench.finbert_cpu [--texts N] [--float32] [--compile]
"""

from __future__ import annotations

import argparse

import torch

from bench._finbert import HIDDEN, Setting, compare, host, say
from ingest.sentiment.model.model import fastest_cpu_dtype


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=256, help="texts to score (default 256)")
    parser.add_argument("--float32", action="store_true", help="ours in float32 too, whatever is faster here")
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    args, _ = parser.parse_known_args()  # `python -m bench` leaves the names of benchmarks there
    dtype = torch.float32 if args.float32 else fastest_cpu_dtype(HIDDEN)
    setting = Setting(args.texts, torch.device("cpu"), dtype, compiled=args.compile)
    n = args.texts
    compare("finbert_cpu", setting, {"one at a time": (n // 8, 1), "batches of 8": (n // 4, 8)})
    say(bench="finbert_cpu_distance", size=n, ours=setting.distance(), unit="of a probability from float32",
        **setting.about)  # fmt: skip
    host("finbert_cpu", setting, 16_384)


if __name__ == "__main__":
    main()
