"""BERT and RoBERTa classifiers on texts laid end to end: nothing is padded, and nothing is computed that is not used.

transformers pads a batch to its longest text, and computes every token to the last layer. Here the tokens of a batch are the rows of
one matrix. Only attention needs to know where a text ends:

- on a GPU, one call a layer (``varlen_attn``, which is flash attention) is told where each text begins;
- on a CPU, texts of one length stand together and get attention at once, without a mask;
- on a GPU without flash attention too, and cuDNN is left out, because it plans anew for every shape.

The classifier reads only the first token of a text, so the last layer makes only keys and values for the others. Queries, keys and values
are one product.

Matrix products are in ``dtype``. Sums along the layers, normalisation and, on a CPU, attention are in float32. That keeps the
probabilities of bf16 within 0.01 of float32; sums over 12 layers in bf16 would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import embedding, layer_norm, linear, scaled_dot_product_attention
from transformers import BertForSequenceClassification, PreTrainedModel, RobertaForSequenceClassification

_RUN_MAX = 16_384  # texts that get attention at once; the kernels of a GPU take at most 65,535
_FLASH_CAPABILITY = (8, 0)  # of the first GPU with flash attention
_WITHOUT_PLANS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class _Linear(NamedTuple):
    weight: Tensor
    bias: Tensor


class _Texts(NamedTuple):
    """Where the texts of a batch stand among its tokens.

    Attributes
    ----------
    runs : list of (int, int)
        Numbers of texts that follow one another, and their common length; empty if attention is computed for all texts at once.
    bounds : Tensor
        Begin of each text, and the end of the last, int32 on the device.
    numbers : Tensor
        0, 1, ... up to the number of texts, int32 on the device: the bounds of the texts' first tokens.
    longest : int
    """

    runs: list[tuple[int, int]]
    bounds: Tensor
    numbers: Tensor
    longest: int


class _Layer(NamedTuple):
    qkv: _Linear
    out: _Linear
    out_norm: _Linear
    up: _Linear
    activation: Callable[[Tensor], Tensor]
    down: _Linear
    down_norm: _Linear


def is_packable(model: PreTrainedModel) -> bool:
    """Return whether this module can compute ``model``: plain BERT and RoBERTa classifiers, with positions added."""
    kinds = (BertForSequenceClassification, RobertaForSequenceClassification)
    plain = getattr(model.config, "position_embedding_type", "absolute") in ("absolute", None)
    return type(model) in kinds and plain and not model.config.is_decoder


class PackedEncoder:
    """Logits of texts of token ids.

    Parameters
    ----------
    model : PreTrainedModel
        A classifier that ``is_packable``. Its weights are copied if they change their form.
    device : torch.device
    dtype : torch.dtype
        Precision of the matrix products.
    compiled : bool
        Compile what stands between two attentions, for any number of tokens.
    """

    def __init__(
        self, model: PreTrainedModel, device: torch.device, dtype: torch.dtype, *, compiled: bool = False
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._attends_at_once = _has_flash(device, dtype)
        model = model.eval().to(device)
        base: Any = model.base_model
        config = model.config
        self._heads = int(config.num_attention_heads)
        self._eps = float(config.layer_norm_eps)
        self._words = base.embeddings.word_embeddings.weight.detach().float()
        is_roberta = isinstance(model, RobertaForSequenceClassification)
        first = int(config.pad_token_id) + 1 if is_roberta else 0
        kinds = base.embeddings.token_type_embeddings.weight.detach().float()
        self._positions = base.embeddings.position_embeddings.weight.detach().float()[first:] + kinds[0]
        self._norm = _of(base.embeddings.LayerNorm, torch.float32)
        self._layers = [_layer(layer, dtype) for layer in base.encoder.layer]
        self._between = torch.compile(self._finish, dynamic=True) if compiled else self._finish
        classifier: Any = model.classifier
        dense, last = (classifier.dense, classifier.out_proj) if is_roberta else (base.pooler.dense, classifier)
        self._head = _head(dense, last)

    @torch.inference_mode()
    def __call__(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits of each text, float32 on the device. It is fastest if texts of one length follow one another."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        n_tokens = int(lengths.sum())
        index = np.empty(2 * n_tokens + len(texts) + 1, np.int64)
        index[:n_tokens] = np.fromiter(chain.from_iterable(texts), np.int64, n_tokens)
        index[2 * n_tokens] = 0
        ends = np.cumsum(lengths, out=index[2 * n_tokens + 1 :])
        index[n_tokens : 2 * n_tokens] = np.arange(n_tokens) - np.repeat(ends - lengths, lengths)
        there = put(index, self._device)
        first = there[2 * n_tokens : -1]
        places = self._places(lengths, there[2 * n_tokens :])
        x = embedding(there[:n_tokens], self._words) + embedding(there[n_tokens : 2 * n_tokens], self._positions)
        x = self._normalise(x, self._norm)
        for layer in self._layers[:-1]:
            qkv = linear(x.to(self._dtype), *layer.qkv).view(n_tokens, 3, self._heads, -1)
            x = self._between(layer, x, self._attend(qkv[:, 0], qkv[:, 1:], places))
        layer = self._layers[-1]
        width = x.shape[1]
        low, read = x.to(self._dtype), x[first]
        kv = linear(low, layer.qkv.weight[width:], layer.qkv.bias[width:]).view(n_tokens, 2, self._heads, -1)
        q = linear(low[first], layer.qkv.weight[:width], layer.qkv.bias[:width]).view(len(texts), self._heads, -1)
        logits: Tensor = self._head(self._finish(layer, read, self._attend(q, kv, places)))
        return logits

    def _places(self, lengths: np.ndarray[tuple[int, ...], np.dtype[np.int64]], bounds: Tensor) -> _Texts:
        if self._attends_at_once:
            numbers = torch.arange(len(bounds), dtype=torch.int32, device=self._device)
            return _Texts([], bounds.to(torch.int32), numbers, int(lengths.max()))
        alike = [(len(list(same)), length) for length, same in groupby(lengths.tolist())]
        runs = [(min(n - i, _RUN_MAX), length) for n, length in alike for i in range(0, n, _RUN_MAX)]
        return _Texts(runs, bounds, bounds, 0)

    def _attend(self, q: Tensor, kv: Tensor, texts: _Texts) -> Tensor:
        """Return the attention within each text. ``q`` has all tokens or only the first of each, ``kv`` has all."""
        if self._attends_at_once:
            bounds, longest = (texts.bounds, texts.longest) if len(q) == len(kv) else (texts.numbers, 1)
            attended = varlen_attn(q, kv[:, 0], kv[:, 1], bounds, texts.bounds, longest, texts.longest)
            return attended.flatten(1)  # type: ignore[union-attr]  # a tensor, because no more was asked for
        if self._device.type == "cpu":
            return self._attend_by_runs(q.float(), kv.float(), texts.runs)  # faster than bf16 at these lengths
        with sdpa_kernel(_WITHOUT_PLANS):
            return self._attend_by_runs(q, kv, texts.runs)

    def _attend_by_runs(self, q: Tensor, kv: Tensor, runs: list[tuple[int, int]]) -> Tensor:
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        whole = len(q) == len(kv)
        at = row = 0
        for n, length in runs:
            rows = n * (length if whole else 1)
            keys, values = kv[at : at + n * length].view(n, length, *kv.shape[1:]).permute(2, 0, 3, 1, 4)
            queries = q[row : row + rows].view(n, rows // n, *q.shape[1:]).transpose(1, 2)
            attended = scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
            out[row : row + rows] = attended.flatten(0, 1)
            at += n * length
            row += rows
        return out.flatten(1).to(self._dtype)

    def _finish(self, layer: _Layer, x: Tensor, attended: Tensor) -> Tensor:
        x = self._normalise(x + linear(attended, *layer.out), layer.out_norm)
        inner = layer.activation(linear(x.to(self._dtype), *layer.up))
        return self._normalise(x + linear(inner, *layer.down), layer.down_norm)

    def _normalise(self, x: Tensor, norm: _Linear) -> Tensor:
        return layer_norm(x, (x.shape[1],), *norm, self._eps)


def _has_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the device computes flash attention in this precision."""
    halves = (torch.bfloat16, torch.float16)
    return device.type == "cuda" and dtype in halves and torch.cuda.get_device_capability(device) >= _FLASH_CAPABILITY


def put(array: np.ndarray[tuple[int, ...], np.dtype[np.int64]], device: torch.device) -> Tensor:
    """Copy an array to the device; to a GPU through pinned memory, without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _of(module: Any, dtype: torch.dtype) -> _Linear:
    """Copy weight and bias: results are then the same bits whether or not the file's tensors were aligned."""
    return _Linear(module.weight.detach().to(dtype, copy=True), module.bias.detach().to(dtype, copy=True))


def _layer(layer: Any, dtype: torch.dtype) -> _Layer:
    own = layer.attention.self
    qkv = [_of(part, dtype) for part in (own.query, own.key, own.value)]
    return _Layer(
        _Linear(torch.cat([p.weight for p in qkv]), torch.cat([p.bias for p in qkv])),
        _of(layer.attention.output.dense, dtype),
        _of(layer.attention.output.LayerNorm, torch.float32),
        _of(layer.intermediate.dense, dtype),
        layer.intermediate.intermediate_act_fn,
        _of(layer.output.dense, dtype),
        _of(layer.output.LayerNorm, torch.float32),
    )


def _head(dense: Any, classifier: Any) -> Callable[[Tensor], Tensor]:
    first, last = _of(dense, torch.float32), _of(classifier, torch.float32)
    return lambda x: linear(linear(x, *first).tanh(), *last)
