"""The list of kernels, the layouts of their states, and what their versions cover."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transforms import recorded_kernels
from transforms import kernels, saved
from transforms.catalog import VIEWS
from transforms.context.layout import Neighbours
from transforms.derivatives import kernel as derivatives
from transforms.instrument import Instrument
from transforms.layouts import DERIVATIVES, layouts


def test_every_feature_is_of_one_kernel() -> None:
    made = [feature for kernel in kernels.ALL for feature in kernel.features]
    assert sorted(made) == sorted({name for view in VIEWS for name in view.names})


def test_a_kernel_stands_behind_those_that_it_needs() -> None:
    seen: set[str] = set()
    for kernel in kernels.ALL:
        assert seen.issuperset(kernel.needs), kernel.name
        assert kernel.name not in seen
        seen.add(kernel.name)


@pytest.mark.parametrize(
    "neighbours", [None, Neighbours(("A",), pair=0), Neighbours(("A", "B"), leader=0, venues=(1,))]
)
@pytest.mark.parametrize("bucket_us", [1_000_000, 250_000, 100_000])
def test_the_pieces_of_kernels_fill_every_vector(bucket_us: int, neighbours: Neighbours | None) -> None:
    vectors = saved.fresh(Instrument(), bucket_us, neighbours).vectors
    # a symbol has it from its first message of the kind on
    vectors[DERIVATIVES] = derivatives.init(Instrument(), bucket_us)
    found = layouts(bucket_us, neighbours.shape if neighbours else None)
    assert list(vectors) == list(found)
    for part, layout in found.items():
        assert len(vectors[part]) == sum(size for _, size in layout), part
        assert {name for name, _ in layout} <= kernels.KERNEL.keys()


def test_code_and_layout_of_every_kernel_are_those_that_its_version_was_recorded_with() -> None:
    found, before = recorded_kernels.today(), recorded_kernels.recorded()
    differ = sorted(name for name in found | before if found.get(name) != before.get(name))
    assert not differ, f"changed: {differ}. {recorded_kernels.__doc__}"


def test_every_module_of_formulas_is_covered_by_a_version() -> None:
    code = {module for kernel in kernels.ALL for module in kernel.code}
    assert recorded_kernels.modules() == code.union(
        recorded_kernels.APART, recorded_kernels.SHARED, recorded_kernels.ENGINE
    )


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ('"""Fold in the close of a bar."""', '"""Other words."""', True),
        ("PERIOD = 14", "PERIOD = 14  # a remark", True),
        ("PERIOD = 14", "PERIOD = 13", False),
        ("_GAIN] += gain", "_GAIN] += 2.0 * gain", False),
    ],
)
def test_a_version_covers_formulas_and_not_words(
    old: str, new: str, is_same: bool, monkeypatch, tmp_path: Path
) -> None:
    real = recorded_kernels.module_path
    changed = tmp_path / "rsi.py"
    source = real("technical.rsi").read_text()
    assert source.count(old) == 1
    changed.write_text(source.replace(old, new))
    before = recorded_kernels.code_of(["technical.rsi"])
    recorded_kernels._read.cache_clear()
    monkeypatch.setattr(
        recorded_kernels, "module_path", lambda name: changed if name == "technical.rsi" else real(name)
    )
    assert (recorded_kernels.code_of(["technical.rsi"]) == before) is is_same
    recorded_kernels._read.cache_clear()


def test_a_layout_that_changed_is_not_recorded_under_its_old_version(monkeypatch, tmp_path, capsys) -> None:
    file = tmp_path / "recorded.json"
    monkeypatch.setattr(recorded_kernels, "FILE", file)
    assert recorded_kernels.main([]) == 0
    now = recorded_kernels.today()
    monkeypatch.setattr(recorded_kernels, "today", lambda: now | {"rsi": now["rsi"]._replace(layout="other")})
    assert recorded_kernels.main(["--same-values", "rsi"]) == 1
    assert "rsi" in capsys.readouterr().err
    assert recorded_kernels.recorded() == now
    monkeypatch.setattr(
        recorded_kernels, "today", lambda: now | {"rsi": now["rsi"]._replace(version=2, layout="other")}
    )
    assert recorded_kernels.main([]) == 0
    assert recorded_kernels.recorded()["rsi"].version == 2
