"""Tiny models of the real classes, made on the spot, and a file of labelled texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from ingest.sentiment.model.model import SentimentModel, load

FINBERT = {0: "positive", 1: "negative", 2: "neutral"}
FINBERT_TONE = {0: "Neutral", 1: "Positive", 2: "Negative"}
CRYPTOBERT = {0: "Bearish", 1: "Neutral", 2: "Bullish"}

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_WORDS = ["up", "down", "flat", "rocket", "http", "@", "user", "$", "btc", ".", "##s", "the", "a"]
_SAYS = {"up": "positive", "down": "negative", "flat": "neutral"}


def tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece over a vocabulary of a few words."""
    vocabulary = {word: i for i, word in enumerate(_SPECIAL + _WORDS)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def save(
    folder: Path, id2label: Mapping[int, str], *, roberta: bool = False, says: Mapping[int, str] | None = None
) -> None:
    """A model that understands "up", "down" and "flat", whose outputs mean ``says`` and are named ``id2label``.

    Its weights are random but for the classifier, which is fitted to the three words; ``says`` is the truth where the
    names lie.
    """
    torch.manual_seed(7)
    common = {
        "vocab_size": len(_SPECIAL + _WORDS),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "id2label": dict(id2label),
        "label2id": {name: i for i, name in id2label.items()},
        "pad_token_id": 0,
    }
    model: BertForSequenceClassification | RobertaForSequenceClassification
    if roberta:
        model = RobertaForSequenceClassification(RobertaConfig(**common, max_position_embeddings=68))
    else:
        model = BertForSequenceClassification(BertConfig(**common, max_position_embeddings=64))
    _teach(model.eval(), tokenizer(), says or id2label)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def _teach(model: torch.nn.Module, tokens: PreTrainedTokenizerFast, says: Mapping[int, str]) -> None:
    """Least squares of the last linear layer, so that each of the three words gives logit 4 to its own output."""
    last = model.classifier.out_proj if hasattr(model.classifier, "out_proj") else model.classifier
    seen: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model(**tokens(list(_SAYS), return_tensors="pt", return_token_type_ids=False))
        hook.remove()
        target = torch.zeros(len(_SAYS), len(says))
        for row, meaning in enumerate(_SAYS.values()):
            for output, name in says.items():
                known = {"bullish": "positive", "bearish": "negative"}.get(name.lower(), name.lower())
                target[row, output] = 4.0 * (known == meaning)
        last.bias.zero_()
        last.weight.copy_(torch.linalg.lstsq(seen[0], target).solution.T)


def rename_labels(folder: Path, id2label: Mapping[int, str]) -> None:
    """Change the names in a saved model's configuration only."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {str(i): name for i, name in id2label.items()}
    config["label2id"] = {name: i for i, name in id2label.items()}
    path.write_text(json.dumps(config))


def labelled_file(path: Path) -> Path:
    table = pa.table({"body": ["up", "down", "flat", "up", None], "said": [1, 0, 2, 0, 2]})
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def likeliest(scores: Any) -> list[int]:
    return [max(range(3), key=list(s).__getitem__) for s in scores]


def load_tiny(folder: Path, revision: str | None = None) -> SentimentModel:
    return load(str(folder), revision=revision, device="cpu", dtype=torch.float32)
