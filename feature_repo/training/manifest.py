"""The manifest beside a frame: what was asked, of which data, by which code, and the hash of the file, so that it can
be made again.

``frame.parquet`` has its manifest in ``frame.parquet.manifest.json``. The data version of a view is the number, the
newest ``created_timestamp`` and a digest of all rows of the frame's symbols from which a value can come: a sum of
hashes, whatever the order of the rows, and whether they are read from the lake or the database. So a correction, a late
row and a backfill change it. The database (``kernel_versions``) says which kernels made a row.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from feast import FeatureStore

import feature_repo
import transforms
from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.join.digest import Digest, Maker, digests
from feature_repo.stores.offline.session import snapshot
from feature_repo.stores.offline.tables.schema import table_of_feature_view
from transforms import kernels

FORM: Final = 1
PRICES: Final = ("microstructure", ("mid_price", "spread"))
"""The view and the features of which prices of the book are made."""
_LIBRARIES: Final = ("feast", "numpy", "pandas", "pyarrow")


class ManifestError(UserError, ValueError):
    """The file is no manifest, or the frame cannot be made again; the message says why."""


def path_of(frame: Path) -> Path:
    """Return where the manifest of a frame lies."""
    return frame.with_name(f"{frame.name}.manifest.json")


def write(frame: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of a frame that is there, with the hash of its bytes."""
    path = path_of(frame)
    whole = {"form": FORM, **content, "frame": {"bytes": frame.stat().st_size, "sha256": hash_of(frame)}}
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n")
    os.replace(part, path)


def read(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises
    ------
    ManifestError
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ManifestError(f"{path} is no manifest: {error}") from error
    parts = ("query", "code", "data", "frame")
    if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in parts):
        raise ManifestError(f"{path} is no manifest of a frame")
    if content.get("form") != FORM:
        raise ManifestError(f"{path} was written by another version of this program: form {content.get('form')!r:.20}")
    return content


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_version(*folders: Path) -> dict[str, Any]:
    """Return what the code is: version and commit of the project, a hash of each part that makes frames, and the
    libraries.

    `folders` are parts besides ``feature_repo`` and ``transforms``.
    """
    home = Path(feature_repo.__path__[0])
    parts = (home, Path(transforms.__path__[0]), *folders)
    return {
        "version": _version("trading-feature-store"),
        "commit": _commit(home),
        "sources": {part.name: _hash_of_sources(part) for part in parts},
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def data_version(
    store: FeatureStore,
    service: str,
    symbols: Sequence[str],
    span: tuple[datetime, datetime],
    ahead: timedelta,
    around: timedelta,
    *,
    labelled: bool,
) -> dict[str, Any]:
    """Return the version of the rows from which a frame can have a value, by view.

    Parameters
    ----------
    store : FeatureStore
    service : str
        The feature service.
    symbols : sequence of str
    span : tuple of datetime
        The first and the last moment of the frame.
    ahead : timedelta
        How far the labels look ahead.
    around : timedelta
        How much older or newer than that a price may be.
    labelled : bool
        Whether labels are made of prices of the book.
    """
    wanted = features_of(store, service)
    if labelled:
        books, prices = PRICES
        wanted[books] = list(dict.fromkeys([*wanted.get(books, []), *prices]))
    found: dict[str, Any] = {}
    with snapshot(store.config.offline_store) as connection:
        for name, features in sorted(wanted.items()):
            view = store.get_feature_view(name)
            table = table_of_feature_view(view)
            if table is None or len(table.keys) != 1:
                found[name] = None  # a query, or rows of other keys: nothing tells its version
                continue
            oldest = span[0] - max(view.ttl, around) if view.ttl else None
            rows = digests(connection, table, features, symbols, (oldest, span[1] + ahead + around))
            asked = "SELECT id, versions FROM kernel_versions"
            versions = dict(connection.execute(asked).fetchall()) if table.managed else {}
            found[name] = _version_of(rows, features, versions)
    return found


def features_of(store: FeatureStore, service: str) -> dict[str, list[str]]:
    """Return the features of a feature service by view."""
    projections = store.get_feature_service(service).feature_view_projections
    return {one.name: [feature.name for feature in one.features] for one in projections}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that is not as the manifest says.

    >>> rows = {"rows": 3, "newest_created": "2024-01-01", "digest": "a", "made_by": []}
    >>> code = {"version": "1", "commit": "c", "sources": {"transforms": "s"}, "libraries": {"numpy": "2"}}
    >>> then = {"code": code, "data": {"order_flow": rows}}
    >>> now = {"code": {**code, "libraries": {"numpy": "3"}}, "data": {"order_flow": {**rows, "rows": 4, "digest": "b"}}}
    >>> differences(then, now)
    ['numpy was 2 and is 3', 'order_flow had 3 rows and has 4']
    """
    return [*_other_code(then["code"], now["code"]), *_other_data(then["data"], now["data"])]


def served_kernels(data: Mapping[str, Any]) -> dict[str, dict[str, set[int]]]:
    """Return, for each view of a data version that has served rows, the versions of the kernels that made them."""
    return {name: found for name, view in data.items() if (found := _versions(view, served=True))}


def other_kernels(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each kernel by which the served rows of one data version were made otherwise than the rows
    of an earlier one: a model of a frame is then not given what it was trained on.

    A view without served rows in `now` says nothing.

    >>> made = {"kernels": {"rsi": 1, "macd": 1}, "recomputed": True, "rows": 9}
    >>> served = {"kernels": {"rsi": 2}, "recomputed": False, "rows": 3}
    >>> other_kernels({"technical": {"made_by": [made]}}, {"technical": {"made_by": [made, served]}})
    ['macd made rows of technical in version 1, and makes none now', 'rsi made rows of technical in version 1, and now in 2']
    """
    found = []
    for name, versions in served_kernels(now).items():
        for kernel, were in sorted(_versions(then.get(name), served=False).items()):
            are = versions.get(kernel, set())
            if not are <= were or not are:
                what = f"now in {_text(are)}" if are else "makes none now"
                found.append(f"{kernel} made rows of {name} in version {_text(were)}, and {what}")
    return found


def _versions(view: Mapping[str, Any] | None, *, served: bool) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for made in view["made_by"] if view else ():
        if made["kernels"] and not (served and made["recomputed"]):
            for kernel, version in made["kernels"].items():
                found.setdefault(kernel, set()).add(version)
    return found


def _text(versions: set[int]) -> str:
    return " or ".join(map(str, sorted(versions)))


def _other_code(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for part, was in then["sources"].items():
        if now["sources"].get(part) != was:
            commits = f" (commit {then['commit']}, now {now['commit']})" if then["commit"] != now["commit"] else ""
            yield f"the code of {part} is another one{commits}"
    for library, was in then["libraries"].items():
        if now["libraries"].get(library) != was:
            yield f"{library} was {was} and is {now['libraries'].get(library)}"


def _other_data(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for view in sorted({*then, *now}):
        a, b = then.get(view), now.get(view)
        if a == b:
            continue
        if not (a and b):
            yield f"{view} was read as {'a table' if a else 'no table'}, and is {'one' if b else 'none'}"
        elif a["rows"] != b["rows"]:
            yield f"{view} had {a['rows']:,} rows and has {b['rows']:,}"
        elif a["newest_created"] != b["newest_created"]:
            yield f"{view} had its newest row of {a['newest_created']} and has one of {b['newest_created']}"
        elif a["digest"] != b["digest"]:
            yield f"{view} has as many rows, but other ones"
        else:
            yield f"{view} has the same values in rows that were made by other kernels"


def _version_of(
    found: Mapping[Maker, Digest], features: Sequence[str], versions: Mapping[int | None, Any]
) -> dict[str, Any]:
    groups = sorted(found.items(), key=lambda one: (one[0][0] is None, one[0][0] or 0, one[0][1]))
    used = {kernel.name for kernel in kernels.ALL if set(kernel.features) & set(features)}
    newest = max((of.newest for of in found.values() if of.newest), default=None)
    return {
        "rows": sum(of.rows for of in found.values()),
        "newest_created": newest and newest.isoformat(),
        "digest": f"{sum(of.total for of in found.values()) % 2**64:016x}",
        "made_by": [
            {
                "kernels": {k: v for k, v in versions[number].items() if k in used} if number in versions else None,
                "recomputed": recomputed,
                "rows": of.rows,
            }
            for (number, recomputed), of in groups
        ],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """Return the commit of the checkout that a folder is in, with ``-dirty`` where files were changed; None outside
    of one."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  # ours
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _hash_of_sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0{hash_of(path)}\n".encode())
    return digest.hexdigest()
