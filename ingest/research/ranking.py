"""The ranking of a frame's features: every measure, and what follows from them.

A feature is **chosen** where, at one horizon, its coefficient without bias differs from 0 beyond chance (`information`;
the probability is multiplied by the number of features and horizons, Bonferroni 1936, and must stay below `CHANCE`),
and a model loses by shuffling its cluster (`importance`), by more than twice the deviation of the mean over folds. Of
the chosen ones of a cluster the first stays, and the others repeat it. What looks ahead has no place in the ranking and
takes no part in the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ingest.research import importance, information, lookahead, redundancy
from ingest.research.frame import Floats, Frame
from ingest.research.ranks import two_sided
from transforms.times import iso_of_us

CHANCE: Final = 0.001
"""Of choosing one or more features of a frame in which none tells: the family-wise error rate."""


def rank(
    frame: Frame,
    newest: Frame | None = None,
    *,
    period: int | None = None,
    estimator: str = "ridge",
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Return the ranking as what JSON can hold: numbers that are unknown are None, features come in order.

    Parameters
    ----------
    frame : Frame
    newest : Frame, optional
        As for ``lookahead.find``.
    period : int, optional
        In microseconds; without it ``information.period_of`` chooses.
    estimator : str, optional
        As for ``importance.estimator_of``.
    say : callable, optional
        Is told what is computed next.
    """
    make = importance.estimator_of(estimator)
    period = period or information.period_of(frame)
    say("looking for features that look ahead")
    ahead = lookahead.find(frame, newest)
    say("comparing features")
    alike = redundancy.correlations(frame)
    fit = [i for i, name in enumerate(frame.names) if name not in ahead and not np.isnan(alike[i, i])]
    clusters = [[fit[i] for i in one] for one in redundancy.clusters(alike[np.ix_(fit, fit)])]
    found = {name: _empty(frame, i) for i, name in enumerate(frame.names)}
    for name, one in ahead.items():
        found[name] |= {"verdict": "looks ahead", "why": one.text, "looks_ahead": asdict(one)}
    for number, cluster in enumerate(clusters):
        for i in cluster:
            found[frame.names[i]]["cluster"] = number
    models = {}
    for horizon in frame.returns:
        key = lookahead.seconds(horizon)
        say(f"coefficients of {key}")
        _add_coefficients(found, frame, horizon, period)
        say(f"importance for {key}")
        models[key] = _add_importance(found, frame, horizon, clusters, make)
    _add_kept(found, frame)
    order = _judge(found, [[frame.names[i] for i in one] for one in clusters])
    return {
        "frame": _about(frame),
        "period_s": period / 1e6,
        "estimator": estimator,
        "models": models,
        "features": [found[name] for name in order],
        "clusters": [[frame.names[i] for i in one] for one in clusters],
        "correlations": _plain(alike[np.ix_(*[[frame.names.index(n) for n in order]] * 2)]),
    }


def _about(frame: Frame) -> dict[str, Any]:
    return {
        "rows": len(frame.t_us),
        "symbols": len(frame.symbols),
        "features": len(frame.names),
        "first": iso_of_us(int(frame.t_us.min())),
        "last": iso_of_us(int(frame.t_us.max())),
        "step_s": frame.step_us / 1e6,
        "horizons": [lookahead.seconds(horizon) for horizon in frame.returns],
    }


def _empty(frame: Frame, i: int) -> dict[str, Any]:
    values = frame.x[:, i]
    known = values[~np.isnan(values)]
    constant = not len(known) or known.min() == known.max()
    why = ("has no value" if not len(known) else "is constant") if constant else ""
    return {
        "name": frame.names[i],
        "rank": None,
        "verdict": "no values" if constant else "no evidence",
        "why": why,
        "null_share": 1 - len(known) / len(values),
        "cluster": None,
        "horizons": {},
    }


def _add_coefficients(found: Mapping[str, dict[str, Any]], frame: Frame, horizon: int, period: int) -> None:
    by_period = information.coefficients(frame, horizon, period)
    tests = len(frame.names) * len(frame.returns)
    for i, name in enumerate(frame.names):
        textbook, causal = (information.summary(of[:, i]) for of in (by_period.textbook, by_period.causal))
        why = information.undecided(causal, period, horizon)
        found[name]["horizons"][lookahead.seconds(horizon)] = {
            "ic": _known(asdict(textbook)),
            "causal_ic": _known(asdict(causal)),
            "undecided": why,
            "z": 0.0 if why else causal.z,
            "chance": 1.0 if why else min(1.0, two_sided(causal.z) * tests),
            "by_period": _plain(by_period.textbook[:, i]),
        }


def _add_importance(
    found: Mapping[str, dict[str, Any]],
    frame: Frame,
    horizon: int,
    clusters: list[list[int]],
    make: Callable[[], importance.Estimator],
) -> dict[str, Any] | None:
    """Add what each feature and its cluster are worth; return the model's score, None where there are too few rows
    for one."""
    used = [i for cluster in clusters for i in cluster]
    several = [cluster for cluster in clusters if len(cluster) > 1]
    groups = [*([i] for i in used), *several]
    worth = importance.importances(frame, horizon, groups, used, make) if used else None
    if worth is None:
        return None
    lost = {tuple(group): information.summary(column) for group, column in zip(groups, worth.lost.T, strict=True)}
    for cluster in clusters:
        for i in cluster:
            of = found[frame.names[i]]["horizons"][lookahead.seconds(horizon)]
            of["importance"] = _known(asdict(lost[i,]))
            of["cluster_importance"] = _known(asdict(lost[tuple(cluster)]))
    return _known(asdict(information.summary(worth.score)))


def _add_kept(found: Mapping[str, dict[str, Any]], frame: Frame) -> None:
    """Add how much of a feature's rank is kept over a step of the frame and over each horizon."""
    for lag in sorted({frame.step_us, *frame.returns}):
        for name, value in zip(frame.names, _plain(redundancy.autocorrelation(frame, lag)), strict=True):
            found[name].setdefault("autocorrelation", {})[lookahead.seconds(lag)] = value


def _judge(found: Mapping[str, dict[str, Any]], clusters: list[list[str]]) -> list[str]:
    """Give each feature its verdict and its rank; return the names in order."""
    for one in found.values():
        horizons = one["horizons"]
        one["best"] = best = max(horizons, key=lambda h: (_tells(horizons[h]), abs(horizons[h]["z"])))
        if one["verdict"] == "no evidence":
            if _tells(horizons[best]):
                one["verdict"] = "chosen"
                one["why"] = f"by {best}: t {horizons[best]['causal_ic']['t']:.1f}, and a model loses without it"
            elif horizons[best]["chance"] < CHANCE:
                one["why"] = "no model loses without it"
            else:
                chance = f"chance would show as much in {horizons[best]['chance']:.0%} of such frames"
                one["why"] = horizons[best]["undecided"] or chance

    def place(name: str) -> tuple[int, float]:
        one = found[name]
        last = ("chosen", "repeats", "no evidence", "no values", "looks ahead").index(one["verdict"])
        return last, -abs(one["horizons"][one["best"]]["z"])

    for cluster in clusters:
        first, *others = sorted((name for name in cluster if found[name]["verdict"] == "chosen"), key=place) or [""]
        for name in others:
            found[name] |= {"verdict": "repeats", "why": f"says what {first} says"}
    order = sorted(found, key=place)
    for number, name in enumerate((n for n in order if found[n]["verdict"] != "looks ahead"), 1):
        found[name]["rank"] = number
    return order


def _tells(of: Mapping[str, Any]) -> bool:
    """Return whether a feature tells of the return beyond chance, and a model loses without its cluster."""
    lost = of.get("cluster_importance")
    return bool(of["chance"] < CHANCE and lost and lost["mean"] > 0 and (lost["t"] or 0.0) > 2.0)


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _plain(values: Floats) -> list[Any]:
    """Return values as lists, rounded to six digits after the point, None where unknown."""
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [round(x, 6) if math.isfinite(x) else None for x in values.tolist()]
