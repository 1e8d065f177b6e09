"""What is chosen, what is not, and what the command and its page say."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.cli import main
from ingest.research import lookahead, page
from ingest.research.ranking import rank
from tests.ingest.research import seeds
from tests.ingest.research.frames import Walk, frame, write


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found["features"]}


def test_noise_is_not_chosen_in_a_hundred_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise, a random walk, the price itself and its momentum, against the price's own random walk."""
    monkeypatch.setattr(lookahead, "find", lambda *_: {})  # most of the time; the next test has it
    chosen = []
    for seed in range(100):
        walk = Walk(seed, 650)
        features = {
            "noise": walk.noise(),
            "walk": np.cumsum(walk.noise()),
            "price": walk.price(),
            "momentum": walk.past(60),
        }
        found = rank(frame(features, {5: walk.coming(5)}))
        chosen += [(seed, one["name"]) for one in found["features"] if one["verdict"] != "no evidence"]
    assert chosen == []


def test_in_a_hundred_seeds_what_was_planted_is_first_what_leaks_is_flagged_and_noise_is_not_chosen() -> None:
    """Short frames with a signal that one sees in them; ``seeds`` says how smaller ones are tried in longer frames."""
    found = seeds.count(range(100), rows=1500, told=0.35)
    assert found["planted_first"] == 100
    assert found["planted_chosen"] >= 95
    assert found["leaks_missed"] == {}
    assert found["noise_not_refused"] == []


def test_a_horizon_that_is_long_beside_the_period_decides_nothing_and_says_so() -> None:
    """A price that rose in each of six periods: a clock would tell of it, by chance."""
    rows = 400
    rising = np.random.default_rng(1).normal(1.0, 0.7, rows)
    one = frame({"clock": np.arange(rows, dtype=float)}, {40: rising, 5: rising})
    (found,) = rank(one, period=60_000_000)["features"]
    assert found["horizons"]["40 s"]["causal_ic"]["t"] > 20
    assert found["horizons"]["40 s"]["chance"] == 1
    assert found["horizons"]["40 s"]["undecided"] == "periods of 60 s are shorter than 5 times the horizon"
    assert found["best"] == "5 s"
    assert found["horizons"]["5 s"]["chance"] < 1e-4
    (found,) = rank(frame({"clock": np.arange(rows, dtype=float)}, {40: rising}), period=60_000_000)["features"]
    assert (found["verdict"], found["why"]) == ("no evidence", found["horizons"]["40 s"]["undecided"])
    (found,) = rank(frame({"clock": np.arange(rows, dtype=float)}, {5: rising}), period=120_000_000)["features"]
    assert found["why"] == "it is known in 3 periods of 5 at least"


def test_noise_and_the_past_do_not_look_ahead() -> None:
    for seed in range(5):
        walk = Walk(seed, 650)
        features = {f"noise_{i}": walk.noise() for i in range(6)}
        features |= {"mid_price": walk.price(), "walk": np.cumsum(walk.noise()), "momentum": walk.past(60)}
        assert lookahead.find(frame(features, {5: walk.coming(5), 30: walk.coming(30)})) == {}


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, Any], Any]:
    """A ranking of a feature that moves the price, a copy of it, the past, noise, and a feature of the future."""
    walk = Walk(1, 6000, told=0.3)
    signal = walk.told[walk.at]
    features = {f"noise_{i}": walk.noise() for i in range(5)}
    features |= {
        "mid_price": walk.price(),
        "momentum": walk.past(60),
        "empty": np.full(6000, np.nan),
        "constant": np.ones(6000),
    }
    features |= {"copy": signal + 0.3 * walk.noise(), "planted": signal, "future": walk.price(later=1)}
    one = frame(features, {2: walk.coming(2), 30: walk.coming(30)})
    return rank(one), one


def test_what_was_planted_is_first_and_what_leaks_has_no_place(told: tuple[dict[str, Any], Any]) -> None:
    found, _ = told
    first, second = found["features"][:2]
    assert (first["name"], first["rank"], first["verdict"], first["best"]) == ("planted", 1, "chosen", "2 s")
    assert (second["name"], second["verdict"], second["why"]) == ("copy", "repeats", "says what planted says")
    features = by_name(found)
    assert {name for name, one in features.items() if one["verdict"] == "looks ahead"} == {"future"}
    assert found["features"][-1]["name"] == "future"
    assert features["future"]["rank"] is None
    assert "ends 1 s after it" in features["future"]["why"]
    assert features["constant"]["why"] == "is constant"
    assert features["empty"]["why"] == "has no value"
    assert features["empty"]["null_share"] == 1
    others = [one["verdict"] for name, one in features.items() if name.startswith(("noise", "mid", "momentum"))]
    assert others == ["no evidence"] * 7
    assert ["planted", "copy"] in [sorted(cluster, reverse=True) for cluster in found["clusters"]]
    assert not any("future" in cluster for cluster in found["clusters"])


class Page(HTMLParser):
    """Elements that are open, and texts."""

    VOID = ("meta", "rect", "path")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.drawings = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag != "script"
        self.drawings += tag == "svg"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_no_name_can_break_it(told: tuple[dict[str, Any], Any]) -> None:
    found = json.loads(json.dumps(told[0]))
    found["features"][0]["name"] = "<script>&'"
    found["clusters"] = [["<script>&'" if name == "planted" else name for name in one] for one in found["clusters"]]
    parser = Page()
    parser.feed(page.render(found))
    assert parser.open == []
    assert parser.drawings >= 2 + 12 + 2
    assert "<script>&'" in parser.text
    assert "looks ahead" in parser.text


def test_the_command_writes_the_same_as_json_and_a_page(
    told: tuple[dict[str, Any], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, one = told
    path = write(tmp_path / "frame.parquet", one)
    files = tmp_path / "ranking.json", tmp_path / "ranking.html"
    assert main(["features", "rank", str(path), "--json", str(files[0]), "--html", str(files[1]), "--top", "2"]) == 0
    written = json.loads(files[0].read_text())
    assert [(f["name"], f["verdict"]) for f in written["features"]] == [
        (f["name"], f["verdict"]) for f in found["features"]
    ]
    assert files[1].read_text() == page.render(written)
    said = capsys.readouterr().out
    assert "planted" in said
    assert "future: its" in said
    assert "momentum" not in said
    assert "9 more features: --top 12" in said
    assert {p.name for p in tmp_path.iterdir()} == {"frame.parquet", "ranking.json", "ranking.html"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--estimator", "nothing:Here"], "no estimator"),
        (["--label", "gone=60s"], "one column 'gone'"),
        (["--features", "gone"], "one column 'gone'"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    walk = Walk(1, 300)
    path = write(tmp_path / "frame.parquet", frame({"a": walk.noise()}, {2: walk.coming(2)}))
    assert main(["features", "rank", str(path), *options]) == 2
    assert message in capsys.readouterr().err
    assert main(["features", "rank", str(tmp_path / "absent.parquet")]) == 2
