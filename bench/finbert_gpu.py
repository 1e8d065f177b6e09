"""Speed of scoring on a GPU: texts and tokens a second of BERT-base, as FinBERT is, with random weights and texts of tweet length.

Prints one JSON object a line, and only that there is no GPU where there is none. The peers are what stock transformers does, in
our precision: one text at a time, and batches of 8 in the order of arrival. All of them tokenise. ``finbert_gpu_share`` is the
share of the rate of matrix products that this GPU was measured to have; ``finbert_gpu_first`` is how long the first window takes in a
new process, with everything that is prepared once; ``finbert_gpu_distance`` is how far a probability of ours
is from float32, one text at a time; ``finbert_gpu_host`` is what a text costs beside the model.

    python -m bench.finbert_gpu [--texts N] [--compile]
"""

from __future__ import annotations

import argparse
import time

import torch

from bench._finbert import OPERATIONS, Setting, compare, host, say


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=131_072, help="texts to score (default 131072)")
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    args, _ = parser.parse_known_args()  # `python -m bench` leaves the names of benchmarks there
    if not torch.cuda.is_available():
        say(bench="finbert_gpu", skipped=f"torch {torch.__version__} finds no CUDA device")
        return
    device = torch.device("cuda")
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    setting = Setting(args.texts, device, dtype, compiled=args.compile)
    setting.about["device"] = torch.cuda.get_device_name()
    n = args.texts
    begin = time.perf_counter()
    setting.ours.score(setting.texts[: setting.ours.window])
    say(
        bench="finbert_gpu_first", size=setting.ours.window, ours=time.perf_counter() - begin, unit="s", **setting.about
    )
    say(bench="finbert_gpu_distance", size=n, ours=setting.distance(), unit="of a probability from float32",
        **setting.about)  # fmt: skip
    setting.stock.to(dtype=dtype)
    texts_s = compare("finbert_gpu", setting, {"one at a time": (n // 128, 1), "batches of 8": (n // 16, 8)})
    rate = texts_s * OPERATIONS * setting.tokens / n
    peak = matrix_rate(device, dtype)
    say(bench="finbert_gpu_share", size=n, ours=rate, peer_name="torch.mm of 8192", peer=peak, ratio=rate / peak,
        unit="operations/s", **setting.about)  # fmt: skip
    host("finbert_gpu", setting, n)


if __name__ == "__main__":
    main()
