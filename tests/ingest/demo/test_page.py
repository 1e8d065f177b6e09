"""The page: one file that asks nothing of a network, takes no name for markup, and draws in a real browser without a complaint."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ingest.demo import page
from ingest.demo.data import SERIES

HOSTILE = """</script><script>document.title="taken"</script><img src=x onerror=document.title='taken'>&amp;/*JS*/"""


def content(symbol: str = "BTCUSDT", *, nothing: bool = False) -> dict[str, Any]:
    """All that a page holds, for two symbols; with ``nothing`` every value is missing."""
    t = [1_700_000_000_000 + 1000 * i for i in range(60)]
    line = [None if nothing or i in (20, 21) else 100.0 + i % 7 for i in range(60)]
    share = [None if v is None else (v - 103) / 4 for v in line]
    columns = {name: share if "imb" in name or "sent" in name else line for name in SERIES}
    cells = [
        {"value": None if nothing else 1.25e-7, "status": "PRESENT", "age_ms": 812.5},
        {"value": None, "status": "OUTSIDE_MAX_AGE", "age_ms": 70_000.0},
        {"value": None, "status": "NOT_FOUND", "age_ms": None},
    ]
    row = {"feature": "imbalance_l1", "view": "microstructure", "unit": "share", "ttl_s": 10, "cells": cells}
    rows = [{"t": t[i], "readable": t[i] + 500, "value": 100.0 + i} for i in range(7)]
    moments = [
        {"t": t[1] + 900, "by_event": 101.0, "by_created": 101.0},
        {"t": t[3] + 100, "by_event": 103.0, "by_created": 102.0},
    ]
    return {
        "about": f"{symbol}: a test",
        "series": {"t": t, "step_s": 1, "symbols": {symbol: columns, "OTHER": columns}},
        "online": {"symbols": [symbol, "OTHER", "NO-SUCH-SYMBOL"], "rows": [row], "took_ms": 1.5, "at_ms": t[-1]},
        "served": f"of {symbol}",
        "example": None if nothing else {"symbol": symbol, "rows": rows, "moments": moments},
        "latency": {
            "title": "Latency",
            "text": "",
            "ms": [] if nothing else [260.0, 300.0, 310.0, 800.0],
            "marks": [{"name": "allowed lateness 250 ms", "ms": 250}],
            "source": "reads",
        },
        "tiles": [["1,234", f"messages of {symbol}"]],
    }


def test_the_page_holds_its_data_whole_whatever_the_names() -> None:
    text = page.render(content(HOSTILE))
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data is not None
    assert json.loads(data.group(1)) == content(HOSTILE)
    assert text.count("<script") == 2
    assert "/*CSS*/" not in text
    assert "/*DATA*/" not in text


def test_the_page_refers_to_nothing_outside_itself() -> None:
    text = page.render(content())
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}, (
        "the name of SVG's elements, no address"
    )
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", text) == ["data:,"]
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|WebSocket|innerHTML|eval\(", text)


def test_a_number_that_json_has_not_is_an_error_and_leaves_no_file(tmp_path) -> None:
    broken = {**content(), "tiles": [[float("nan"), ""]]}
    with pytest.raises(ValueError, match="JSON compliant"):
        page.write(tmp_path / "report.html", broken)
    page.write(tmp_path / "sub" / "report.html", content())
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["report.html"]


ITS_OWN = re.compile(rb"\w+ (?:http://)?[\w.-]+\.(?:google|googleapis|gstatic)\.com\b").match
"""The browser asks its maker for the time and for updates, whatever it shows; the proxy lets none of it through."""


class Browser:
    """Headless Chromium behind a proxy that answers nothing and counts who asks."""

    def __init__(self, program: str, profile: Path) -> None:
        self._program = program
        self._profile = profile

    def open(self, path: Path, width: int, *options: str) -> tuple[str, list[str], list[bytes]]:
        """The drawn document, what it said on the console, and the first bytes of every request."""
        asked: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as proxy:

            def listen() -> None:
                while True:
                    try:
                        caller, _ = proxy.accept()
                    except OSError:
                        return
                    with caller:
                        asked.append(caller.recv(200))

            threading.Thread(target=listen, daemon=True).start()
            command = [
                *(self._program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *(
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                ),
                *(f"--user-data-dir={self._profile}", f"--proxy-server=127.0.0.1:{proxy.getsockname()[1]}"),
                *(
                    "--proxy-bypass-list=<-loopback>",
                    "--enable-logging=stderr",
                    f"--window-size={width},2000",
                    *options,
                ),
                *("--virtual-time-budget=3000", "--dump-dom", path.as_uri()),
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
            proxy.shutdown(socket.SHUT_RDWR)
        asked = [request for request in asked if request and not ITS_OWN(request)]
        return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line], asked


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed here")
    return Browser(program, tmp_path / "profile")


def test_a_browser_draws_every_chart_without_a_complaint_or_a_request(browser, tmp_path) -> None:
    path = tmp_path / "report.html"
    page.write(path, content(HOSTILE))
    document, console, asked = browser.open(path, 1000)
    assert console == []
    assert asked == []
    assert 'data-drawn="yes"' in document
    drawn = {
        name: body.count("<svg") for name, body in re.findall(r'<figure id="(\w+)">(.*?)</figure>', document, re.S)
    }
    assert drawn == {"price": 1, "flow": 1, "mood": 1, "latency": 1, "pit": 1}
    assert "<title>Trading feature store: what this demo wrote</title>" in document
    assert "<img" not in document
    assert "OUTSIDE_MAX_AGE" in document and "NOT_FOUND" in document
    assert "NaN" not in re.sub(r"<script.*?</script>", "", document, flags=re.S)
    figures = dict(re.findall(r'<figure id="(\w+)">(.*?)</figure>', document, re.S))
    strokes = {name: re.findall(r'<path [^>]*stroke="([^"]+)"', body) for name, body in figures.items()}
    # an imbalance is one line through both signs, and not a line of each sign that rests at zero
    assert strokes["price"] == ["var(--line)", "var(--faint)"]
    # blue is to buy and orange to sell, and nothing else
    assert [colour for colour in strokes["flow"] if colour in ("var(--blue)", "var(--orange)")] == strokes["flow"][:2]
    for name in ("mood", "latency", "pit"):
        assert not re.search(r"var\(--(blue|orange)\)", figures[name]), name


def test_nothing_but_nulls_is_drawn_as_such_on_a_phone(browser, tmp_path) -> None:
    path = tmp_path / "report.html"
    page.write(path, content(nothing=True))
    document, console, asked = browser.open(path, 500)
    assert (console, asked) == ([], [])
    assert 'data-drawn="yes"' in document
    assert "null all along" in document
    assert "NaN" not in re.sub(r"<script.*?</script>", "", document, flags=re.S)


def test_the_browser_tells_of_a_fault_and_of_a_request(browser, tmp_path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<img src='http://example.test/x.png'><script>missing()</script>")
    _, console, asked = browser.open(path, 500)
    assert any("missing is not defined" in line for line in console)
    assert any(b"example.test" in request for request in asked)
