"""Loading of a model's weights: a hub id at a pinned revision, a folder, or the embedded model.

A hub id is downloaded to a folder first, so all models load in one way, and exactly the pinned revision is loaded. transformers alone
would use converted weights of another revision if the pinned one has none in safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
REVISIONS = {DEFAULT_MODEL: "4556d13015211d73dccd3fdd39d39232506f3e43"}  # of a hub id when none is given
NOTE = "prepared.json"  # the file in which ``prepare`` notes the name and revision of a folder's model
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "bpe.codes"]  # configuration and tokenizer
_WEIGHTS = ["*.safetensors", "*.bin"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in float32 on the CPU, its tokenizer, its name and revision in rows, and the order of its outputs."""

    name: str
    revision: str
    model: PreTrainedModel
    tokenizer: Any
    order: tuple[int, int, int]


def load_files(name: str, revision: str | None) -> Loaded:
    """Load ``embedded``, a folder, or a hub id; raise ``ModelError`` if that is no three-way sentiment classifier.

    ``revision`` is the commit of a hub id, 40 hexadecimal digits; None uses the one pinned here. A folder or the embedded model is
    checked against it if it is given.
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
    """Write a model to ``folder`` in safetensors, with a note of its name. From there it loads offline."""
    if folder.exists() and any(folder.iterdir()) and not (folder / NOTE).is_file():
        raise ModelError(f"{folder} is not empty and holds no prepared model; name another folder")
    loaded = load_files(name, revision)
    folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
        loaded.model.save_pretrained(folder, safe_serialization=True)
        loaded.tokenizer.save_pretrained(folder)
    note = {"name": loaded.name, "revision": loaded.revision, "files": _files_hash(folder)}
    (folder / NOTE).write_text(json.dumps(note) + "\n")
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
    """Return the folder of a hub id at a commit: from the cache if it is complete there, else from the hub."""
    try:
        folder = None
        with suppress(LocalEntryNotFoundError):
            folder = _snapshot(name, commit, cached_only=True)
        folder = folder or _snapshot(name, commit, cached_only=False)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {name} at {commit} is neither in the cache nor to be had from the hub ({type(error).__name__});"
            " run `python -m ingest prepare-model` where the hub can be reached and set SENTIMENT_MODEL to its folder,"
            f" or set SENTIMENT_MODEL={EMBEDDED}"
        ) from error
    if folder is None:
        raise ModelError(
            f"model {name} at {commit} has no weights for torch: neither safetensors nor pytorch_model.bin"
        )
    return folder


def _snapshot(name: str, commit: str, *, cached_only: bool) -> Path | None:
    """Return a folder with weights, in safetensors if the model has them; None if it has no form that torch reads."""
    for weights in ("model*.safetensors", "pytorch_model*.bin"):
        patterns = [*_SMALL_FILES, weights]
        folder = Path(snapshot_download(name, revision=commit, allow_patterns=patterns, local_files_only=cached_only))
        if any(folder.glob(weights)) and (folder / "config.json").is_file():
            return folder
    return None


def _folder_identity(folder: Path) -> tuple[str, str]:
    """Return name and revision of a folder's model: from its note if nothing was changed since, else its name and a hash of its files."""
    note = folder / NOTE
    files = _files_hash(folder)
    if not note.is_file():
        return folder.resolve().name, files
    try:
        known = json.loads(note.read_text())
        name, revision, prepared = str(known["name"]), str(known["revision"]), str(known["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{note} cannot be read; run prepare-model again") from error
    return name, revision if files == prepared else files


def _files_hash(folder: Path) -> str:
    """Return a hash of all files that decide a score: weights, configuration (``id2label`` gives the outputs their signs), tokenizer."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in (*_WEIGHTS, *_SMALL_FILES) for path in folder.glob(pattern)}):
        if path.name != NOTE:
            with path.open("rb") as file:
                digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return "sha256:" + digest.hexdigest()[:12]


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
    """Silence the progress bars and the advice of transformers; errors are raised all the same."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
