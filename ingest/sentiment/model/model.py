"""Scoring of texts with any sequence-classification model.

Texts are cleaned and tokenised on another thread, one window ahead of the device. A window is sorted by length and cut into batches of
a token budget. BERT and RoBERTa are computed without padding (``encoder``), other models by transformers itself. The scores of a
window are read after the next window was launched, so a GPU does not wait. If a batch does not fit, the budget is halved for good.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

import torch

from ingest.sentiment.model.batches import PaddedModel, plan
from ingest.sentiment.model.encoder import PackedEncoder, is_packable
from ingest.sentiment.model.labels import ModelError, Probabilities
from ingest.sentiment.model.loading import Loaded, load_files
from transforms.sentiment.text import Kind, pieces

TOKENS_MAX = 128  # that are read of a piece of text; tweets have 28 on average
_BUDGET = {"cuda": 131_072, "cpu": 4_096}
_WINDOW = {"cuda": 8_192, "cpu": 256}
_WITHOUT_EMOJI = {"bert", "distilbert", "mobilebert", "electra", "albert"}
_BF16_GAIN = 1.3
_MEASURED_WIDTH = 384
_MEASURED_TURNS = 20
# what torch on a CPU, and cuBLAS, say in a plain RuntimeError
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "STATUS_ALLOC_FAILED")


class Launched(NamedTuple):
    """Texts on their way through the device: the pieces of each, the order of the pieces, and logits batch by batch."""

    pieces: list[int]
    order: list[int]
    logits: list[torch.Tensor]


class SentimentModel:
    """A loaded model. One thread at a time may score with it."""

    def __init__(self, loaded: Loaded, device: torch.device, dtype: torch.dtype, *, compiled: bool = False) -> None:
        self.name = loaded.name
        self.revision = loaded.revision
        self.kind = kind_of(loaded.model.config.model_type)
        self.device = device
        self.dtype = dtype
        self.budget = _BUDGET[device.type]  # tokens of a batch; halved when a batch does not fit
        self.window = _WINDOW[device.type]  # texts that are sorted and batched together; asking for more gains nothing
        self.tokens_read = 0  # since the model was loaded
        self._label_order = list(loaded.order)
        self._tokenise = tokeniser(loaded.tokenizer)
        self._forward: Callable[[Sequence[Sequence[int]]], torch.Tensor]
        # packed texts are not padded; on a CPU they are counted as if they were, which keeps batches, and so the last bits, as they were
        self._pads = device.type == "cpu" or not is_packable(loaded.model)
        if is_packable(loaded.model):
            self._forward = PackedEncoder(loaded.model, device, dtype, compiled=compiled)
        else:
            self._forward = PaddedModel(loaded.model, int(loaded.tokenizer.pad_token_id or 0), device, dtype)

    def score(self, texts: Sequence[str]) -> list[Probabilities | None]:
        """Return the probabilities of each text, None for a text that says nothing (``transforms.sentiment.text``).

        News is scored sentence by sentence, and gets the means over its sentences. Raise ``ModelError`` if not even one text fits the
        device.
        """
        windows = [texts[i : i + self.window] for i in range(0, len(texts), self.window)]
        scores: list[Probabilities | None] = []
        under_way: deque[Launched] = deque()
        for counts, tokens in _one_ahead(self._prepare, windows):
            under_way.append(self._launch(counts, tokens))
            if len(under_way) > 1:
                scores += self._read(under_way.popleft())
        for launched in under_way:
            scores += self._read(launched)
        return scores

    def _prepare(self, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Return how many pieces each text has, and the tokens of all pieces."""
        cut = [pieces(text, self.kind) for text in texts]
        return [len(c) for c in cut], self._tokenise(list(chain.from_iterable(cut)))

    def _launch(self, counts: list[int], tokens: Sequence[Sequence[int]]) -> Launched:
        """Give pieces of text to the device, without waiting for it."""
        waiting = list(plan([len(t) for t in tokens], self.budget, pads=self._pads))
        launched = Launched(counts, [], [])
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
            # after the except block: the error's frames hold tensors, which are free only now
            waiting[:0] = self._halve(batch, [len(tokens[i]) for i in batch])
        self.tokens_read += sum(map(len, tokens))
        return launched

    def _halve(self, batch: list[int], lengths: list[int]) -> list[list[int]]:
        """Halve the budget, and return the batch that did not fit in batches of the new one."""
        tokens = len(batch) * lengths[0] if self._pads else sum(lengths)
        self.budget = min(self.budget, tokens // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return [[batch[i] for i in part] for part in plan(lengths, self.budget, pads=self._pads)]

    def _read(self, launched: Launched) -> Iterator[Probabilities | None]:
        """Wait for the device, and yield the means over the pieces of each text."""
        scores: list[Probabilities] = [(0.0, 0.0, 0.0)] * len(launched.order)
        if launched.order:
            rows = torch.cat(launched.logits).softmax(-1)[:, self._label_order].double().cpu().tolist()
            for i, (positive, negative, neutral) in zip(launched.order, rows, strict=True):
                scores[i] = positive, negative, neutral
        at = 0
        for n in launched.pieces:
            of_text = scores[at : at + n]
            at += n
            if n < 2:
                yield of_text[0] if of_text else None
            else:
                yield sum(p[0] for p in of_text) / n, sum(p[1] for p in of_text) / n, sum(p[2] for p in of_text) / n


def tokeniser(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """Return a function from prepared texts to their token ids, at most ``TOKENS_MAX`` of each.

    It calls the tokenizers library without transformers around it if the model has it: no offsets and no masks are made, all cores
    are used, and the interpreter's lock is free.
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
    """Load a model for scoring: ``embedded``, a folder, or a hub id at ``revision``, a commit; None uses the pinned one.

    Parameters
    ----------
    device : str, optional
        ``cuda``, ``cuda:1``, ``cpu``; None uses a GPU if there is one.
    dtype : torch.dtype, optional
        None uses bf16 on a GPU that has it, and on a CPU that measures faster with it than with float32, if the model is one of
        ``encoder``, which keeps its probabilities within 0.01 of float32.
    compiled : bool
        Compile what lies between the matrix products with ``torch.compile``: a longer start, less memory traffic.

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
    """Return how texts are prepared for a model. BERT and its like have no emoji in their vocabulary, and get words instead."""
    return "bert" if model_type in _WITHOUT_EMOJI else "roberta"


def fastest_cpu_dtype(hidden_size: int) -> torch.dtype:
    """Return bf16 if this CPU multiplies matrices of the model's size clearly faster in it, else float32.

    The two take turns and the best time of each counts, so other work on the machine slows both alike.
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
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)


def _one_ahead(prepare: Any, windows: list[Sequence[str]]) -> Iterator[Any]:
    """Yield ``prepare`` of each window; another thread works on the next one while a window is in use."""
    with ThreadPoolExecutor(1, "tokenise") as thread:
        current: Future[Any] | None = None
        for window in windows:
            following = thread.submit(prepare, window)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()
