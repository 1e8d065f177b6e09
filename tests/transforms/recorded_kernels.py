"""What each kernel's version covers: a digest of its code and of the layout of its state, in ``recorded_kernels.json``.

A test fails when code or layout are not those that are recorded. After a change of a formula or of a state raise the version in
``transforms/kernels.py``, then record it::

    python -m tests.transforms.recorded_kernels

Where a change of the code changes no value and no state, to the bit, say so: ``--same-values vpin trades`` (the names that the test tells).
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from transforms import kernels
from transforms.context.layout import Shape
from transforms.kernels import Kernel
from transforms.layouts import layouts
from transforms.sentiment import state as posts

FILE = Path(__file__).with_suffix(".json")
ROOT = Path(kernels.__file__).parent
APART = frozenset((
    "anew", "catalog", "compiling", "example", "history", "joined", "kernels", "layouts", "packing", "saved", "times", "warmup",
    "microstructure.microprice_fit", "sentiment.symbols", "sentiment.text",
))  # fmt: skip
"""Modules that no version covers: what they do is no formula of a kernel, or is told to the backfill in another way (the catalogue)."""
ENGINE = ("engine", "kernel", "limits", "validation")
"""What gives messages to the kernels. It is recorded too: where it changes values, raise the versions of the kernels that make them."""
SHARED = frozenset({"holes", "instrument", "lots", "returns", "sessions", "window"})
"""Modules that the kernels share: their code counts for each kernel that imports them."""
_BUCKETS_US = (1_000_000, 100_000)


class Recorded(NamedTuple):
    """The version of a kernel, and digests of its code and of its layout."""

    version: int
    code: str
    layout: str


class _Bare(ast.NodeTransformer):
    """Leaves out docstrings, and the words of f-strings, which are those of errors."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("")


def module_path(name: str) -> Path:
    return ROOT.joinpath(*name.split(".")).with_suffix(".py")


def modules() -> set[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in ROOT.rglob("*.py") if path.stem != "__init__")
    return {".".join(path.parts) for path in paths}


@cache
def _read(module: str) -> tuple[str, frozenset[str]]:
    """The bare code of a module, and the names that it imports."""
    tree = ast.parse(module_path(module).read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "transforms":
            package = node.module.removeprefix("transforms").lstrip(".")
            found |= {package, *(f"{package}.{alias.name}".lstrip(".") for alias in node.names)}
    return ast.unparse(_Bare().visit(tree)), frozenset(found)


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """The bare code of modules and of the shared ones that they import, by module."""
    found: dict[str, str] = {}
    due = [*modules]
    while due:
        module = due.pop()
        if module not in found:
            found[module], imported = _read(module)
            due += imported & SHARED
    return found


def _layout_of(kernel: Kernel) -> object:
    parts = [layout for us in _BUCKETS_US for layout in layouts(us, Shape(2, leads=True)).values()]
    pieces = [found for layout in parts if (found := [size for name, size in layout if name == kernel.name])]
    records = [posts.HEADER.format, posts.RECORD.format, posts.ID.format] if kernel.name == "posts" else []
    return [pieces, records]


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def today() -> dict[str, Recorded]:
    found = {k.name: Recorded(k.version, _digest(code_of(k.code)), _digest(_layout_of(k))) for k in kernels.ALL}
    return found | {"engine": Recorded(0, _digest(code_of(ENGINE)), "")}


def recorded() -> dict[str, Recorded]:
    return {name: Recorded(*numbers) for name, numbers in json.loads(FILE.read_text()).items()} if FILE.exists() else {}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--same-values", nargs="*", default=[], metavar="KERNEL")
    same = parser.parse_args(arguments).same_values
    before, now = recorded(), today()
    refused = []
    for name, found in now.items():
        old = before.get(name, Recorded(-1, "", ""))
        if found == old:
            continue
        if found.version < old.version or (
            found.version == old.version and (found.layout != old.layout or name not in same)
        ):
            refused.append(name)
            now[name] = old
        else:
            print(f"{name}: version {found.version} is recorded")
    lines = (f"{json.dumps(name)}: {json.dumps(of)}" for name, of in sorted(now.items()))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    if refused:
        print(f"raise versions in transforms/kernels.py, see --help: {', '.join(refused)}", file=sys.stderr)
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
