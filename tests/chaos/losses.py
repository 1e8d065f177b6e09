"""What a cluster without ``TFS_REDIS_REPLICAS`` has lost, and whether everything else is as if it had never been there.

The logs that are left are given to another deployment, which nothing disturbs, and both are compared, bit for bit:

- vectors, dead letters and counters stand beside the log and are lost with it, so they must be equal;
- a value online must be equal, unless its row is of a later event time than the log has: it was made of entries that are gone, and no
  message has made time pass since;
- no row may be missing offline. Rows of entries that are gone stand beside them, as they were served. A recorded row says that
  it was created when its last message was received. So both may say the same time, and the first stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from feature_repo.stores.online.format import decode_time, feature_field, time_field
from ingest.streams import keys
from ingest.streams.backlog import counters
from ingest.worker import losses
from tests.chaos import result
from tests.chaos.cluster import ClusterOfSix
from tests.chaos.deployment import PARTITIONS, Deployment, deployment
from tests.chaos.tape import Entry
from transforms.catalog import VIEWS

HISTORY = {"TFS_LOG_HISTORY_S": "86400"}
"""The logs keep what is processed, so that they can be read at the end."""
_FIELDS = {view.name: [feature_field(view.name, name) for name in view.names] for view in VIEWS}


def compare(of: Deployment, workers: int) -> list[str]:
    """Return how a deployment differs from one that was given the same logs in peace; print what of it is of entries that are gone."""
    entries = left(of)
    found = result.read(of)
    with deployment(workers) as calm:
        calm.publish_all(entries)
        calm.drain()
        expected = result.read(calm)
        calm.close()
    gone: Counter[str] = Counter()
    wrong = differ_online(found.pop("online"), expected.pop("online"), gone)
    for place in [place for place in expected if place.startswith("offline")]:
        wrong += differ_offline(place, found.pop(place), expected.pop(place), gone)
    wrong += result.differences(found, expected)
    told = "; ".join(f"{n} {what}" for what, n in sorted(gone.items())) or "none"
    print(f"{len(entries)} entries are left in the logs. Rows of entries that are gone: {told}", flush=True)
    return [f"by the logs that are left: {line}" for line in wrong]


def left(of: Deployment) -> list[Entry]:
    """Return what the logs have."""
    found: list[Entry] = []
    for p in range(PARTITIONS):
        log: Any = of.client.xrange(keys.events(p))
        found += [Entry(keys.events(p), entry_id.decode(), fields) for entry_id, fields in log]
    return found


def differ_offline(place: str, have: Mapping[Any, Any], want: Mapping[Any, Any], gone: Counter[str]) -> list[str]:
    """Return which rows are missing, whenever they were created; count those of entries that are gone."""
    had, wanted = (defaultdict[Any, list[Any]](list) for _ in range(2))
    for rows, by_moment in ((have, had), (want, wanted)):
        for key, row in rows.items():
            by_moment[key[:2]].append(row)
    gone["offline"] += sum(row not in wanted[key[:2]] for key, row in have.items())
    missing = [key for key, row in want.items() if row not in had[key[:2]]]
    gone["offline, in the place of a row that was made again"] += sum(key in have for key in missing)
    missing = [key for key in missing if key not in have]
    return [f"{place}: {len(missing)} rows are missing, such as {missing[0]}"] if missing else []


def differ_online(have: Mapping[Any, Any], want: Mapping[Any, Any], gone: Counter[str]) -> list[str]:
    """Return which rows differ; count those that are later than the log."""
    out = []
    for name, row in want.items():
        for view, fields in _FIELDS.items():
            at = time_field(view)
            mine, theirs = ([of.get(field) for field in (at, *fields)] for of in (have.get(name, {}), row))
            if mine == theirs:
                continue
            if mine[0] and (not theirs[0] or decode_time(mine[0]) > decode_time(theirs[0])):
                gone["online, later than their log"] += 1
            else:
                out.append(f"online: {view} of {name!r} is {str(mine)[:300]} and not {str(theirs)[:300]}")
    return out


def told(cluster: ClusterOfSix, of: Deployment, missing: int) -> list[str]:
    """Print what the producer and the workers say is lost, where so many entries are missing in the logs; return what is wrong."""
    by_kind = ", ".join(f"{n} {kind}" for kind, n in sorted(cluster.lost.items())) or "none"
    counted = counters(of.client, PARTITIONS).get(losses.ENTRIES, 0)
    print(f"acknowledged and lost: {by_kind}; missing in the logs: {missing}; counted by the workers: {counted}")
    wrong = [f"the workers have counted {counted} lost entries, but {missing} are missing"] * (counted > missing)
    return wrong + [f"{missing} entries are missing, and the producer knows of none"] * bool(
        missing and not cluster.lost
    )
