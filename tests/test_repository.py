"""What users rely on in the repository itself: settings that are documented, versions that are pinned, examples that run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGES = ("transforms", "ingest", "feature_repo")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LINES_MAX = 350
TABLES = {"transforms/catalog.py"}
"""Modules that are a table, a line a feature: they grow with what they list."""
SETTING = re.compile(r"(?:TFS|SENTIMENT)_[A-Z0-9_]+\Z")
EXAMPLE = ">>> "
MADE = {"feature_repo/data/registry.db"}
"""Files that a page names and that `feast apply` makes."""
READS_THE_ENVIRONMENT = {"ingest/settings.py", "feature_repo/stores/endpoints.py", "transforms/kernel.py"}
"""One module a layer."""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def settings_read(path: Path) -> set[str]:
    """Names of settings that stand alone as a string in a module: what it asks the environment for."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SETTING.match(node.value)
    }


def test_every_setting_that_the_code_reads_is_documented() -> None:
    read = {name for path in SOURCES for name in settings_read(path)}
    assert {"TFS_REDIS_URL", "TFS_PARTITIONS", "SENTIMENT_MODEL", "TFS_LOG_LEVEL"} <= read
    rows = re.findall(r"^\| `((?:TFS|SENTIMENT)_[A-Z0-9_]+)` \|", (ROOT / "docs/operations.md").read_text(), re.M)
    assert sorted(set(rows)) == sorted(rows), "a setting has two rows"
    assert set(rows) == read


def test_no_part_of_a_pipeline_waits_for_feast_torch_or_pandas_when_it_starts() -> None:
    parts = ["worker.worker", "router", "offline_writer", "sentiment.scorer", "observe.status_command"]
    code = f"import sys, {', '.join(f'ingest.{part}' for part in parts)}; print({{'feast', 'torch', 'pandas'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_one_module_a_layer_reads_the_environment() -> None:
    assert {named(path) for path in SOURCES if re.search(r"\bos\.(?:environ|getenv)\b", path.read_text())} == (
        READS_THE_ENVIRONMENT
    )


def test_every_setting_of_the_pipeline_is_described_in_its_class_and_offered_in_the_example() -> None:
    from ingest.settings import Settings

    read = settings_read(ROOT / "ingest/settings.py")
    described = set(re.findall(r"# ((?:TFS|SENTIMENT)_[A-Z0-9_]+): ", inspect.getsource(Settings)))
    assert described == read
    offered = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.M))
    assert read - {"TFS_WEBHOOK_TOKEN"} <= offered  # compose and the manifests run no webhook


def test_the_documented_defaults_are_the_defaults() -> None:
    from ingest.settings import load

    rows = dict(
        re.findall(
            r"^\| `(TFS_\w+|SENTIMENT_\w+)` \| `?([^`|]*?)`? \|", (ROOT / "docs/operations.md").read_text(), re.M
        )
    )
    numbers = {name: text for name, text in rows.items() if text.replace(",", "").isdigit()}
    assert len(numbers) >= 7
    settings = load({})
    for name, text in numbers.items():
        if name != "TFS_NUMBA":
            assert getattr(settings, name.removeprefix("TFS_").lower()) == int(text.replace(",", "")), name
    assert rows["SENTIMENT_MODEL"] == settings.sentiment_model


def test_the_page_lists_every_reason_for_a_refusal() -> None:
    from ingest.messages.refusal import Reason

    text = (ROOT / "docs/architecture.md").read_text().partition("## Refusals")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == [str(reason) for reason in Reason]


def test_the_protocol_has_every_script_with_its_steps() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    scripts = [path for package in ("ingest", "feature_repo") for path in (ROOT / package).rglob("*.lua")]
    assert len(scripts) >= 10
    for path in scripts:
        assert f"{path.name}`" in text, path
        if steps := re.findall(r"^ *-- (\d+)\. ", path.read_text(), re.M):
            section = text.partition(f"(`{path.relative_to(ROOT)}`")[2].partition("\n**")[0].partition("\n## ")[0]
            assert re.findall(r"(?:^|\. )(\d+)\. ", section, re.M) == steps, path


def test_the_protocol_has_the_steps_of_every_loop() -> None:
    loops = (ROOT / "docs/protocol.md").read_text().partition("\n## The loops\n")[2].partition("\n## ")[0]
    sections = re.findall(r"^\*\*.+?\*\* \(`(.+?)`\)\n(.*?)(?=^\*\*|\Z)", loops, re.M | re.S)
    assert len(sections) == 5
    for path, section in sections:
        told = dict(re.findall(r"^(\d+)\. (.+?)[.,:;(]", section, re.M))
        code = re.findall(r"# (\d+)\. (.+?)[.,:;(\n]", (ROOT / path).read_text())
        assert dict(code) == told and len(code) == len(told) > 3, path


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_distribution_that_is_asked_for_is_pinned_and_nothing_comes_from_an_address() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = dict.fromkeys(lines)
    for line in pins:
        assert re.match(r"[A-Za-z0-9][\w.-]*==\d[\w.!+]*\Z", line), line
    pinned = [canonical(line.partition("==")[0]) for line in lines]
    assert len(set(pinned)) == len(pinned), "a distribution is pinned twice"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    assert asked
    for requirement in asked:
        name = re.match(r"[\w.-]+", requirement)
        assert name
        assert canonical(name[0]) in pinned, requirement
        assert "://" not in requirement


def test_a_pin_is_within_what_the_project_asks_for() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"
    )
    versions = {canonical(name): version for name, version in pins.items()}
    for text in (*project["dependencies"], *(r for e in project["optional-dependencies"].values() for r in e)):
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[canonical(requirement.name)], prereleases=True), text


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_module_can_be_read_in_one_go(path: Path) -> None:
    if named(path) not in TABLES:
        assert len(path.read_text().splitlines()) <= LINES_MAX


def with_examples() -> Iterator[str]:
    for path in SOURCES:
        lines = path.read_text().splitlines()
        if any(EXAMPLE in line and "+SKIP" not in line for line in lines):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("module", list(with_examples()))
def test_the_examples_of_a_module_give_what_they_say(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert failed == 0
    assert tried > 0


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_targets_that_a_page_names_are_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert "demo" in targets
    used = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.M))
    assert used <= targets


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_commands_that_a_page_names_are_commands(page: Path) -> None:
    used = set(re.findall(r"python -m ingest ([a-z][a-z-]*)", page.read_text()))
    assert used <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:transforms|ingest|feature_repo|docs|tests|bench|examples)/[\w./-]+)`", text):
        assert target in MADE or (ROOT / target).exists(), target


def test_the_picture_of_the_system_is_drawn_from_its_text() -> None:
    labels = re.findall(r'label="([^"]*)"', (ROOT / "docs" / "system.dot").read_text())
    wanted = [line for label in labels for line in label.split(r"\n")]
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", (ROOT / "docs" / "system.svg").read_text())
    assert sorted(drawn) == sorted(wanted), "draw it again: dot -Tsvg docs/system.dot -o docs/system.svg"


IMPORT_ALL = """
import importlib, pkgutil, bench
for module in pkgutil.iter_modules(bench.__path__):
    if module.name != "__main__":
        try:
            importlib.import_module(f"bench.{module.name}")
        except ModuleNotFoundError as error:  # a peer that is not installed
            if error.name.partition(".")[0] in ("transforms", "ingest", "feature_repo", "bench"):
                raise
"""


def test_every_benchmark_can_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
