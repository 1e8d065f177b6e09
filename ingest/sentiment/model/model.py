"""Scores texts with any sequence-classification model, at the speed of the device.

Texts are cleaned and tokenised on another thread, a window ahead of the device; a window is sorted by length and cut
into batches of a token budget. BERT and RoBERTa are computed without padding (``encoder``), other models by transformers
itself. A window's scores are read once the next one is under way, so a GPU does not wait. A batch that does not fit
halves the budget, once and for all, and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import torch

from ingest.sentiment.model.batches import plan
from ingest.sentiment.model.encoder import PackedEncoder, is_packable
from ingest.sentiment.model.labels import ModelError
from ingest.sentiment.model.loading import Loaded, load_files
from ingest.sentiment.model.padded import PaddedModel
from transforms.sentiment.text import Kind, pieces

Probabilities = tuple[float, float, float]
"""Of positive, negative and neutral; they sum to 1."""

TOKENS_MAX = 128
"""Tokens that are read of a piece of text; tweets have 28 on average."""
_BUDGET = {"cuda": 131_072, "cpu": 4_096}
_WINDOW = {"cuda": 8_192, "cpu": 256}
_WITHOUT_EMOJI = {"bert", "distilbert", "mobilebert", "electra", "albert"}
_BF16_GAIN = 1.3
_MEASURED_WIDTH = 384
_MEASURED_TURNS = 20
_FULL = ("not enough memory", "can't allocate memory", "STATUS_ALLOC_FAILED")


class Launched(NamedTuple):
    """Texts on their way through the device: their indices, and as many rows of logits, batch by batch."""

    order: list[int]
    logits: list[torch.Tensor]


class SentimentModel:
    """A loaded model; one thread at a time may score with it.

    Attributes
    ----------
    name, revision
        What rows call it.
    kind
        How texts are prepared for it.
    device, dtype
        Where and in what precision it runs.
    budget
        Tokens of a batch; halves where they did not fit.
    window
        Texts that are sorted and batched together; as many as are worth asking for at once.
    tokens_read
        Tokens that were scored since it was loaded.
    """

    def __init__(self, loaded: Loaded, device: torch.device, dtype: torch.dtype, *, compiled: bool = False) -> None:
        self.name = loaded.name
        self.revision = loaded.revision
        self.kind = kind_of(loaded.model.config.model_type)
        self.device = device
        self.dtype = dtype
        self.budget = _BUDGET[device.type]
        self.window = _WINDOW[device.type]
        self.tokens_read = 0
        self._order = list(loaded.order)
        self._tokens = tokeniser(loaded.tokenizer)
        self._forward: Callable[[Sequence[Sequence[int]]], torch.Tensor]
        if is_packable(loaded.model):
            self._forward = PackedEncoder(loaded.model, device, dtype, compiled=compiled)
        else:
            self._forward = PaddedModel(loaded.model, int(loaded.tokenizer.pad_token_id or 0), device, dtype)

    def score(self, texts: Sequence[str]) -> list[Probabilities | None]:
        """The probabilities of each text, None where it says nothing (``transforms.sentiment.text``).

        News is scored sentence by sentence; its probabilities are the means over the sentences.

        Raises
        ------
        ModelError
            Not even a single text fits the device.
        """
        windows = [texts[i : i + self.window] for i in range(0, len(texts), self.window)]
        out: list[Probabilities | None] = []
        under_way: tuple[list[int], Launched] | None = None
        for counts, tokens in _one_ahead(self._prepare, windows):
            launched = self._launch(tokens)
            if under_way is not None:
                out += _means(under_way[0], self._read(under_way[1]))
            under_way = counts, launched
        if under_way is not None:
            out += _means(under_way[0], self._read(under_way[1]))
        return out

    def _prepare(self, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """How many pieces each text has, and the tokens of all of them."""
        cut = [pieces(text, self.kind) for text in texts]
        return [len(c) for c in cut], self._tokens(list(chain.from_iterable(cut)))

    def _launch(self, tokens: Sequence[Sequence[int]]) -> Launched:
        """Give texts of token ids to the device."""
        waiting = list(plan([len(t) for t in tokens], self.budget))
        launched = Launched([], [])
        while waiting:
            batch = waiting.pop(0)
            try:
                launched.logits.append(self._forward([tokens[i] for i in batch]))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    n = len(tokens[batch[0]])
                    raise ModelError(f"not even one text of {n} tokens fits the {self.device}") from error
            else:
                launched.order.extend(batch)
                continue
            # only now, with the error gone, are the tensors of its frames free
            waiting[:0] = self._halve(batch, [len(tokens[i]) for i in batch])
        self.tokens_read += sum(map(len, tokens))
        return launched

    def _halve(self, batch: list[int], lengths: list[int]) -> list[list[int]]:
        """The batch that did not fit, in batches of half the budget."""
        self.budget = min(self.budget, len(batch) * lengths[0] // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return [[batch[i] for i in part] for part in plan(lengths, self.budget)]

    def _read(self, launched: Launched) -> list[Probabilities]:
        """The probabilities of what was launched, in the order in which it was given; waits for the device."""
        if not launched.order:
            return []
        rows = torch.cat(launched.logits).softmax(-1)[:, self._order].double().cpu().tolist()
        out: list[Probabilities] = [(0.0, 0.0, 0.0)] * len(rows)
        for i, row in zip(launched.order, rows, strict=True):
            out[i] = (row[0], row[1], row[2])
        return out


def tokeniser(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """A function from texts that are prepared already to their token ids, at most ``TOKENS_MAX`` of each.

    The tokenizers library is called without transformers around it where the model has it: no offsets, no masks, on all
    cores and without the interpreter's lock.
    """
    longest = min(TOKENS_MAX, int(tokenizer.model_max_length))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        options = {"truncation": True, "max_length": longest, "return_attention_mask": False}
        return lambda texts: list(tokenizer(texts, **options)["input_ids"]) if texts else []
    backend.enable_truncation(longest)
    backend.no_padding()
    return lambda texts: [encoded.ids for encoded in backend.encode_batch_fast(texts)]


def load(
    name: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
) -> SentimentModel:
    """Load a model for scoring.

    Parameters
    ----------
    name
        ``embedded``, a folder, or a hub id.
    revision
        Commit of a hub id; None takes the one pinned for it.
    device
        ``cuda``, ``cuda:1``, ``cpu``; None takes a GPU where there is one.
    dtype
        Precision; None takes bf16 on a GPU that has it, and on a CPU where it is measured to be faster than float32 and
        the model is one of ``encoder``, which keeps its probabilities within 0.01 of float32.
    compiled
        Compile what lies between the matrix products with ``torch.compile``: longer to start, less memory traffic.

    Raises
    ------
    ModelError
        No such model or device, or not a three-way sentiment classifier.
    """
    chosen = _device(device)
    loaded = load_files(name, revision)
    if dtype is None and chosen.type == "cpu":
        packable = is_packable(loaded.model)
        dtype = fastest_cpu_dtype(int(loaded.model.config.hidden_size)) if packable else torch.float32
    elif dtype is None:
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return SentimentModel(loaded, chosen, dtype, compiled=compiled)


def kind_of(model_type: str) -> Kind:
    """How texts are prepared for a model: BERT and its like have no emoji in their vocabulary, and are given words."""
    return "bert" if model_type in _WITHOUT_EMOJI else "roberta"


def fastest_cpu_dtype(hidden_size: int) -> torch.dtype:
    """bf16 where this CPU multiplies matrices of the model's size clearly faster in it, else float32.

    The two take turns and the best of each counts, so that other work on the machine disturbs both alike.
    """
    width = max(hidden_size, _MEASURED_WIDTH)
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    matrices = {d: (torch.ones(256, width, dtype=d), torch.ones(4 * width, width, dtype=d)) for d in best}
    for _ in range(_MEASURED_TURNS):
        for dtype, (x, weight) in matrices.items():
            start = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return torch.bfloat16 if best[torch.float32] > _BF16_GAIN * best[torch.bfloat16] else torch.float32


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"no device is called {device!r}; use cpu or cuda") from error
    if chosen.type not in _BUDGET:
        raise ModelError(f"device {device!r} is not supported; use cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"torch {torch.__version__} finds no CUDA device for {device!r}; use cpu")
    return chosen


def _is_out_of_memory(error: RuntimeError) -> bool:
    """On a CPU torch tells it in words only, and so does cuBLAS."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _FULL)


def _one_ahead(prepare: Any, windows: list[Sequence[str]]) -> Iterator[Any]:
    """``prepare`` of each window, each begun on another thread while the one before it is in use."""
    with ThreadPoolExecutor(1, "tokenise") as thread:
        ahead = [thread.submit(prepare, w) for w in windows[:1]]
        for i in range(len(windows)):
            ready = ahead.pop().result()
            if i + 1 < len(windows):
                ahead.append(thread.submit(prepare, windows[i + 1]))
            yield ready


def _means(counts: list[int], scores: list[Probabilities]) -> Iterator[Probabilities | None]:
    """Of each text the means over its pieces."""
    at = 0
    for n in counts:
        if n == 0:
            yield None
            continue
        if n == 1:
            yield scores[at]
            at += 1
            continue
        part = scores[at : at + n]
        at += n
        yield sum(p[0] for p in part) / n, sum(p[1] for p in part) / n, sum(p[2] for p in part) / n
