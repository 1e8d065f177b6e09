"""Batches of tokenised texts with about as many tokens each, and any classifier computed by transformers on padded ones.

Texts are sorted by length first. Then almost nothing is padded, and each batch is about as much work as the device can do at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from ingest.sentiment.model.encoder import put

Ids = npt.NDArray[np.int64]


def plan(lengths: Sequence[int], budget: int, *, pads: bool = True) -> Iterator[list[int]]:
    """Yield the indices of ``lengths`` batch by batch, longest first, so that too large a budget shows at once.

    A text longer than the budget is a batch alone.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    budget : int
        Tokens of a batch.
    pads : bool
        Count ``n`` texts as ``n`` times the longest, as they are when they are padded; otherwise count the tokens that they have.

    Examples
    --------
    >>> list(plan([3, 9, 4, 2], 8)), list(plan([3, 9, 4, 2], 9, pads=False))
    ([[1], [2, 0], [3]], [[1], [2, 0, 3]])
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batch: list[int] = []
    tokens = 0
    for i in order:
        of_text = max(1, lengths[batch[0]] if pads and batch else lengths[i])
        if batch and tokens + of_text > budget:
            yield batch
            batch, tokens, of_text = [], 0, max(1, lengths[i])
        batch.append(i)
        tokens += of_text
    if batch:
        yield batch


def pad(texts: Sequence[Sequence[int]], pad_id: int) -> tuple[Ids, Ids | None]:
    """Return texts as a matrix of token ids, and its mask (1 for a token), which is None if nothing was padded."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    longest = int(lengths.max())
    mask = np.arange(longest) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.fromiter((token for text in texts for token in text), dtype=np.int64, count=int(lengths.sum()))
    return ids, None if int(lengths.min()) == longest else mask.astype(np.int64)


class PaddedModel:
    """Logits of texts of token ids, for a model that ``encoder`` does not know. ``pad_id`` is the token that fills a row."""

    def __init__(self, model: PreTrainedModel, pad_id: int, device: torch.device, dtype: torch.dtype) -> None:
        self._model = model.to(device=device, dtype=dtype).eval()
        self._pad_id = pad_id
        self._device = device

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return the logits of each text, float32 on the device. Texts of about the same length are fastest."""
        ids, mask = pad(texts, self._pad_id)
        inputs = {"input_ids": put(ids, self._device)}
        if mask is not None:
            inputs["attention_mask"] = put(mask, self._device)
        logits: torch.Tensor = self._model(**inputs).logits
        return logits.float()
