"""``python -m tests.chaos --minutes N --seed S``: recordings and simulated markets through a pipeline that is being broken.

The same entries go through a deployment that is left in peace, and through one whose workers, writers and routers are killed
and frozen, whose leases are stolen and whose Redis and PostgreSQL are killed, stopped and started again, all of it drawn from
the seed. Then every row offline, every value online, every vector, every dead letter and every count must be equal, as bits.

With --cluster the second one has a Redis Cluster of three masters and three replicas, with --sentinel a master, its replica and three
sentinels. Masters are killed, and failovers are asked for. With --replicas 0 what Redis had acknowledged and lost is counted and told, and
the rest must be as if that had never been there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import threading
from collections import Counter
from pathlib import Path

from ingest.worker import kernels
from tests.chaos import faults, losses, on_tape, result
from tests.chaos.cluster import ClusterOfSix, cluster_of_six
from tests.chaos.deployment import PARTITIONS, Deployment, deployment
from tests.chaos.sentinel import master_of_sentinels
from tests.chaos.tape import Entry, entries


def main() -> int:
    """Both runs and the comparison; 1 where anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long faults happen (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other faults (default 0)")
    parser.add_argument("--rate", type=int, default=300, help="entries a second (default 300)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument("--tape", action="store_true", help="with a tape on S3, which is away for a minute")
    parser.add_argument(
        "--feed",
        action="store_true",
        help="live: a venue plays a capture, and each part is killed (tests/chaos/live.py)",
    )
    on = parser.add_mutually_exclusive_group()
    on.add_argument("--cluster", action="store_true", help="on a Redis Cluster, with failovers of its masters")
    on.add_argument("--sentinel", action="store_true", help="on a master with sentinels, with failovers of it")
    replicas = "with --cluster or --sentinel: TFS_REDIS_REPLICAS (default 1)"
    parser.add_argument("--replicas", type=int, default=1, help=replicas)
    parser.add_argument("--kills", type=int, default=3, help="with --feed: SIGKILLs of each part (default 3)")
    args = parser.parse_args()
    given = os.environ.get("RECORDINGS")
    folder: Path | None = Path(given) if given else Path(__file__).parents[3] / "shared" / "recordings"
    folder = folder if folder and folder.is_dir() else None
    if args.feed:
        from tests.chaos import live  # needs the extra `feeds`

        kernels.warm_up()
        return live.run(args.minutes * 60, args.kills, args.seed, args.workers, folder)
    tape = list(entries(int(args.minutes * 60 * args.rate), args.seed, PARTITIONS, folder))
    print(f"{len(tape)} entries, recordings: {'yes' if folder else 'none'}", flush=True)
    kernels.warm_up()  # into the cache: the workers of both runs load them, and no fault hits a compiler
    with deployment(args.workers) as calm:
        calm.publish_all(tape)
        calm.drain()
        expected = result.read(calm)
        n_expected = result.processed(calm)
        codes = calm.close()
    assert not any(codes), f"an undisturbed process ended with {codes}"
    print(", ".join(f"{sum(_numbers(v))} {k}" for k, v in expected.items()), flush=True)
    assert all(expected.values()), "nothing to compare"
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(on_tape.s3()) if args.tape else None
        cluster: ClusterOfSix | None = None
        if args.cluster or args.sentinel:
            cluster = stack.enter_context(cluster_of_six() if args.cluster else master_of_sentinels())
        may_lose = cluster is not None and not args.replicas
        about = (args.workers, on_tape.PLACE if args.tape else "", (), cluster, args.replicas if cluster else 0)
        more = losses.HISTORY if may_lose else {}
        disturbed = stack.enter_context(deployment(*about, more))
        with on_tape.away_for_a_while(s3) if s3 else contextlib.nullcontext():
            happened = _disturb(disturbed, tape, args.minutes * 60, random.Random(args.seed))
        disturbed.drain()
        found = result.read(disturbed)
        wrong = result.differences(found, expected)
        if cluster is not None:
            cluster.look(disturbed.client)
            not_told = losses.told(cluster, disturbed, n_expected - result.processed(disturbed))
            if may_lose and cluster.lost:
                wrong = losses.compare(disturbed, args.workers)
            wrong += not_told
        not_on_tape = []
        if s3:
            on_tape.drain(disturbed)
            not_on_tape = on_tape.wrong(tape)
        log = disturbed.log.read_text(errors="replace")
        codes = disturbed.close()
        if s3:
            again = stack.enter_context(deployment(args.workers))
            print(f"{on_tape.replay(again)} entries of the tape are replayed", flush=True)
            again.drain()
            not_on_tape += [
                f"replayed from the tape: {line}" for line in result.differences(result.read(again), expected)
            ]
            again.close()
    kills = sum(happened[name] for name in faults.KILLS)
    print(f"{kills} kills; " + ", ".join(f"{n} x {name}" for name, n in sorted(happened.items())))
    wrong += not_on_tape
    if any(codes):
        wrong.append(f"a process ended with {codes} when told to stop")
    return result.told(wrong, log)


def _numbers(place: object) -> list[int]:
    assert hasattr(place, "values")
    return [value if isinstance(value, int) else 1 for value in place.values()]


def _disturb(it: Deployment, tape: list[Entry], seconds: float, random_: random.Random) -> Counter[str]:
    """Publish while faults happen; what happened, counted."""
    failed: list[BaseException] = []

    def publish() -> None:
        try:
            it.publish_all(tape, seconds)
        except BaseException as error:
            failed.append(error)

    publisher = threading.Thread(target=publish)
    publisher.start()
    happened: Counter[str] = Counter()
    while publisher.is_alive():
        publisher.join(random_.uniform(*faults.EVERY_S))
        name, fault = faults.draw(random_, cluster=it.cluster is not None)
        if publisher.is_alive() and fault(it, random_):
            happened[name] += 1
    if failed:
        raise failed[0]
    return happened


if __name__ == "__main__":
    sys.exit(main())
