"""Any sequence classifier, computed by transformers: a batch is padded to its longest text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from ingest.sentiment.model.batches import pad
from ingest.sentiment.model.encoder import put


class PaddedModel:
    """Logits of texts of token ids, for a model that ``encoder`` does not know.

    The model is moved to the device and the precision. ``pad_id`` is the token that fills a row.
    """

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
