"""Finding a model and loading its weights: a hub id at a pinned revision, a folder, or the embedded one.

A hub id becomes a folder first, so everything is loaded in one way, from files that are there, and a pinned revision
is what is loaded: transformers itself would take converted weights from another revision where the pinned one has none
in safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from ingest.sentiment.model import embedded
from ingest.sentiment.model.labels import ModelError, output_order
from ingest.settings import DEFAULT_MODEL

EMBEDDED = "embedded"
REVISIONS = {DEFAULT_MODEL: "4556d13015211d73dccd3fdd39d39232506f3e43"}
"""Revisions that hub ids stand for where none is given."""
NOTE = "prepared.json"
"""Left by ``prepare`` in a model folder: which model it is."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "bpe.codes"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in float32 on the CPU, its tokenizer, and what both are called in rows."""

    name: str
    revision: str
    model: PreTrainedModel
    tokenizer: Any
    order: tuple[int, int, int]


def load_files(name: str, revision: str | None) -> Loaded:
    """Load a model by name.

    Parameters
    ----------
    name
        ``embedded``, a folder, or a hub id.
    revision
        The commit of a hub id, 40 hexadecimal digits; None takes the one pinned here. Of a folder or the embedded
        model it is checked where it is given.

    Raises
    ------
    ModelError
        There is no such model, it is not at that revision, or it is not a three-way sentiment classifier.
    """
    with _quiet():
        if name == EMBEDDED:
            model, tokenizer = embedded.assemble()
            loaded = Loaded(embedded.NAME, embedded.revision(), model, tokenizer, (0, 1, 2))
        elif Path(name).is_dir():
            loaded = _from_folder(Path(name), *_folder_identity(Path(name)))
        else:
            commit = _pinned(name, revision)
            loaded = _from_folder(_from_hub(name, commit), name, commit)
    if revision is not None and revision != loaded.revision:
        raise ModelError(f"model {name} is at revision {loaded.revision}, not at {revision}")
    return loaded


def prepare(name: str, revision: str | None, folder: Path) -> Loaded:
    """Write a model to ``folder`` in safetensors, with a note of what it is; from there it loads offline.

    Raises
    ------
    ModelError
        As ``load_files``; or the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / NOTE).is_file():
        raise ModelError(f"{folder} is not empty and holds no prepared model; name another folder")
    loaded = load_files(name, revision)
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        loaded.model.save_pretrained(folder, safe_serialization=True)
        loaded.tokenizer.save_pretrained(folder)
    (folder / NOTE).write_text(json.dumps({"name": loaded.name, "revision": loaded.revision}) + "\n")
    return loaded


def _pinned(name: str, revision: str | None) -> str:
    commit = revision or REVISIONS.get(name)
    if commit is None:
        raise ModelError(
            f"no folder {name}; and as a hub id it needs a pinned revision: set SENTIMENT_REVISION to the commit"
        )
    if not _COMMIT.fullmatch(commit):
        raise ModelError(f"revision {commit!r} of {name} is no commit of 40 hexadecimal digits; a branch would move")
    return commit


def _from_hub(name: str, commit: str) -> Path:
    """The folder of a hub id at a commit: from the cache where it is whole there, else from the hub."""
    try:
        for cached_only in (True, False):
            with suppress(LocalEntryNotFoundError) if cached_only else nullcontext():
                folder = _snapshot(name, commit, cached_only)
                if folder is not None:
                    return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {name} at {commit} is neither in the cache nor to be had from the hub ({type(error).__name__});"
            " run `python -m ingest prepare-model` where the hub can be reached and set SENTIMENT_MODEL to its folder,"
            f" or set SENTIMENT_MODEL={EMBEDDED}"
        ) from error
    raise ModelError(f"model {name} at {commit} has no weights for torch: neither safetensors nor pytorch_model.bin")


def _snapshot(name: str, commit: str, cached_only: bool) -> Path | None:
    """A snapshot with weights, safetensors where the model has them; None where it has neither form."""
    for weights in ("model*.safetensors", "pytorch_model*.bin"):
        patterns = [*_SMALL_FILES, weights]
        folder = Path(snapshot_download(name, revision=commit, allow_patterns=patterns, local_files_only=cached_only))
        if any(folder.glob(weights)) and (folder / "config.json").is_file():
            return folder
    return None


def _folder_identity(folder: Path) -> tuple[str, str]:
    """Name and revision of the model in a folder: of its note, else the folder's name and the hash of its weights."""
    note = folder / NOTE
    if note.is_file():
        try:
            known = json.loads(note.read_text())
            return str(known["name"]), str(known["revision"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{note} cannot be read; run prepare-model again") from error
    digest = hashlib.sha256()
    for weights in sorted((*folder.glob("*.safetensors"), *folder.glob("*.bin"))):
        with weights.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return folder.resolve().name, "sha256:" + digest.hexdigest()[:12]


def _from_folder(folder: Path, name: str, revision: str) -> Loaded:
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True, attn_implementation="sdpa", local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no sequence classifier that can be loaded: {str(error)[:300]}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{folder} has no weights for {', '.join(missing[:4])}: it is no trained sentiment classifier")
    return Loaded(name, revision, model, tokenizer, output_order(model.config.id2label))


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice of transformers: what matters is raised."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
