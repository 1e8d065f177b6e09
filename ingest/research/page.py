"""The ranking as one self-contained page: tables and drawings in SVG, without a script and without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

SHOWN: Final = 40
"""Features of a drawing; the table has all."""
_CSS: Final = """
:root { --page: #f9f9f7; --card: #fff; --ink: #0b0b0b; --soft: #52514e; --rule: #e4e3df;
  --good: #2a78d6; --bad: #d9591f; --none: #a9a8a2; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d0d0d; --card: #181817; --ink: #f4f4f2; --soft: #c3c2b7; --rule: #343330;
    --good: #4b97ec; --bad: #ee7a45; --none: #6f6e69; }
}
html { color-scheme: light dark; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0 0 .3rem; }
p { margin: .2rem 0 .6rem; color: var(--soft); max-width: 46rem; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: .6rem; padding: 1rem 1.2rem;
  margin-top: 1rem; overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-top: 1px solid var(--rule); white-space: nowrap; }
td.text, th.text { text-align: left; }
td.why { text-align: left; white-space: normal; min-width: 14rem; color: var(--soft); }
svg { display: block; max-width: 100%; height: auto; }
svg text { font-size: 11px; fill: var(--soft); }
.chosen { color: var(--good); font-weight: 600; }
.ahead { color: var(--bad); font-weight: 600; }
"""
_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Features of a training frame</title><style>%s</style></head><body>
"""
_CLASSES: Final = {"chosen": "chosen", "looks ahead": "ahead"}


def render(ranking: Mapping[str, Any]) -> str:
    """Return the page of what ``ranking.rank`` returned."""
    about, features = ranking["frame"], ranking["features"]
    shown = features[:SHOWN]
    models = ", ".join(
        f"{horizon}: {_number(score['mean'])} ± {_number(score['deviation'])}" if score else f"{horizon}: too few rows"
        for horizon, score in ranking["models"].items()
    )
    facts = (
        f"{about['rows']:,} rows of {about['symbols']} symbols, {about['first']} to {about['last']}, a row each {about['step_s']:g} s, "
        f"{about['features']} features. Coefficients are of periods of {ranking['period_s']:g} s."
    )
    parts = [
        _HEAD % _CSS,
        f"<h1>Which features tell of the coming return</h1><p>{escape(facts)}</p>",
        _section("The ranking", _RANKING, _table(features)),
        *(_bars(shown, horizon) for horizon in about["horizons"]),
        _section("Period by period", _PERIODS, *(_lines(one) for one in shown[:12])),
        _section(
            "What a model loses", f"{_MODEL} Its score, by horizon: {models} ({ranking['estimator']}).", _losses(shown)
        ),
        _section("How long ranks are kept", _KEPT, _kept(shown)),
        _section("What says the same", _SAME, _clusters(ranking), _squares(ranking)),
        "</body></html>\n",
    ]
    return "\n".join(parts)


_RANKING: Final = (
    "IC is the mean over periods of the rank correlation with the coming return; t is that of the coefficient without the bias of price "
    "levels, which decides. Chosen is what chance does not explain and a model loses without."
)
_PERIODS: Final = "The rank correlation in each period, at the feature's best horizon; the line is zero."
_MODEL: Final = (
    "A model is trained on purged folds; its score is the rank correlation of prediction and return. The bars are what is lost where a "
    "feature is shuffled, at its best horizon, with two deviations of the mean over folds."
)
_KEPT: Final = "The correlation of a feature's rank with its rank one step and one horizon before. Near 1 turns a position over slowly."
_SAME: Final = (
    "Clusters of features whose rank correlations have a mean size of 0.7 or more, and the correlation of each two."
)


def _section(title: str, text: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{''.join(parts)}</section>"


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(features: Sequence[Mapping[str, Any]]) -> str:
    names = (
        "",
        "feature",
        "verdict",
        "horizon",
        "IC",
        "deviation",
        "same sign",
        "t",
        "chance",
        "loss",
        "kept",
        "null",
        "why",
    )
    rows = []
    for one in features:
        of = one["horizons"][one["best"]]
        numbers = (
            _number(of["ic"]["mean"]),
            _number(of["ic"]["deviation"]),
            _number(of["ic"]["same_sign"], 2),
            _number(of["causal_ic"]["t"], 1),
            f"{of['chance']:.1g}",
            _number(of.get("importance", {}).get("mean")),
            _number(one["autocorrelation"].get(one["best"]), 2),
            f"{one['null_share']:.0%}",
        )
        head = f"<td>{one['rank'] or ''}</td><td class=text>{escape(one['name'])}</td>"
        verdict = f"<td class='text {_CLASSES.get(one['verdict'], '')}'>{one['verdict']}</td><td>{one['best']}</td>"
        cells = "".join(f"<td>{n}</td>" for n in numbers)
        rows.append(f"<tr>{head}{verdict}{cells}<td class=why>{escape(one['why'])}</td></tr>")
    heads = "".join(f"<th{' class=text' if n in ('feature', 'verdict', 'why') else ''}>{n}</th>" for n in names)
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _bars(features: Sequence[Mapping[str, Any]], horizon: str) -> str:
    """Draw the mean coefficient of each feature at a horizon, with two deviations of the mean."""
    rows = []
    for one in features:
        ic = one["horizons"][horizon]["ic"]
        error = 0.0 if ic["deviation"] is None else 2 * ic["deviation"] / ic["periods"] ** 0.5
        rows.append((one["name"], ic["mean"], error, _colour(one)))
    text = "The mean rank correlation, with two deviations of the mean."
    return _section(f"Information coefficient, {horizon}", text, _horizontal(rows))


def _losses(features: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in features:
        lost = one["horizons"][one["best"]].get("importance")
        if lost:
            error = 0.0 if lost["deviation"] is None else 2 * lost["deviation"] / lost["periods"] ** 0.5
            rows.append((one["name"], lost["mean"], error, _colour(one)))
    return _horizontal(rows)


def _colour(one: Mapping[str, Any]) -> str:
    return {"chosen": "var(--good)", "looks ahead": "var(--bad)"}.get(one["verdict"], "var(--none)")


def _horizontal(rows: Sequence[tuple[str, float | None, float, str]]) -> str:
    """Draw bars from the middle to both sides, with whiskers."""
    known = [(name, value, error, colour) for name, value, error, colour in rows if value is not None]
    most = max((abs(value) + error for _, value, error, _ in known), default=0.0) or 1.0
    middle, half, line = 440, 190, 17
    parts = []
    for i, (name, value, error, colour) in enumerate(known):
        y, x = i * line + 20, middle + half * value / most
        w = half * error / most
        parts.append(
            f"<text x=235 y={y + 9} text-anchor=end>{escape(name[:36])}</text>"
            f"<rect x={min(x, middle):.1f} y={y} width={abs(x - middle):.1f} height=11 fill='{colour}'/>"
            f"<path d='M{x - w:.1f} {y + 5.5}H{x + w:.1f}' stroke='var(--ink)'/>"
            f"<text x=700 y={y + 9} text-anchor=end>{value:.4f}</text>"
        )
    height = len(known) * line + 28
    axis = f"<path d='M{middle} 14V{height - 6}' stroke='var(--soft)'/><text x={middle + half} y=10 text-anchor=end>{most:.3g}</text>"
    return f"<svg viewBox='0 0 720 {height}' width=720 role=img>{axis}{''.join(parts)}</svg>"


def _lines(one: Mapping[str, Any]) -> str:
    """Draw a feature's coefficient in each period."""
    values = one["horizons"][one["best"]]["by_period"]
    most = max((abs(v) for v in values if v is not None), default=0.0) or 1.0
    width = 440 / max(1, len(values))
    bars = "".join(
        f"<rect x={250 + i * width:.2f} y={min(24.0, 24 - 20 * v / most):.1f} width={max(0.5, width * 0.8):.2f} "
        f"height={abs(20 * v / most):.1f} fill='{_colour(one)}'/>"
        for i, v in enumerate(values)
        if v is not None
    )
    name = f"<text x=235 y=28 text-anchor=end>{escape(one['name'][:36])}, {one['best']}</text>"
    name += f"<text x=715 y=10 text-anchor=end>±{most:.2f}</text>"
    return (
        f"<svg viewBox='0 0 720 50' width=720 role=img>{name}<path d='M250 24H690' stroke='var(--rule)'/>{bars}</svg>"
    )


def _kept(features: Sequence[Mapping[str, Any]]) -> str:
    lags = list(features[0]["autocorrelation"]) if features else []
    rows = [
        f"<tr><td class=text>{escape(one['name'])}</td>"
        + "".join(f"<td>{_number(one['autocorrelation'][lag], 3)}</td>" for lag in lags)
        + "</tr>"
        for one in features
    ]
    heads = "".join(f"<th>{lag}</th>" for lag in lags)
    return f"<table><tr><th class=text>feature</th>{heads}</tr>{''.join(rows)}</table>"


def _clusters(ranking: Mapping[str, Any]) -> str:
    several = [cluster for cluster in ranking["clusters"] if len(cluster) > 1]
    return "".join(f"<p>{escape(', '.join(cluster))}</p>" for cluster in several) or "<p>No two say the same.</p>"


def _squares(ranking: Mapping[str, Any]) -> str:
    """Draw the rank correlations of the first features with each other, clusters side by side."""
    names = [one["name"] for one in ranking["features"]][:SHOWN]
    order = [name for cluster in ranking["clusters"] for name in cluster if name in names]
    order += [name for name in names if name not in order]
    place = {one["name"]: i for i, one in enumerate(ranking["features"])}
    side, left = 11, 245
    cells = []
    for row, a in enumerate(order):
        cells.append(f"<text x={left - 6} y={row * side + 19} text-anchor=end>{escape(a[:36])}</text>")
        for column, b in enumerate(order):
            value = ranking["correlations"][place[a]][place[b]]
            if value is not None and abs(value) >= 0.05:
                colour = "var(--good)" if value > 0 else "var(--bad)"
                cells.append(
                    f"<rect x={left + column * side} y={row * side + 10} width={side - 1} height={side - 1} fill='{colour}' "
                    f"opacity={abs(value):.2f}><title>{escape(a)}, {escape(b)}: {value:.2f}</title></rect>"
                )
    size = len(order) * side + 16
    return f"<svg viewBox='0 0 {left + size} {size}' width={left + size} role=img>{''.join(cells)}</svg>"
