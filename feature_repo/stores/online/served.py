"""The log of what was served: a sample of the answers to online reads, written by a thread of its own.

A sampled read hands over the arrays of its answer, which nobody changes, and goes on. It waits for no disk and no thread: an
answer that does not fit into `MOST_BYTES` of memory is dropped and counted. The thread writes a file every `WRITE_S` seconds, and
at the end of the process. A process that is killed loses what it had not written; its files are whole.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Sequence
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Final
from weakref import WeakSet

from feature_repo.stores.online.request import Answer, Read
from feature_repo.stores.online.served_file import Counts, Sample, write_file
from feature_repo.stores.online.shape import Table

log = logging.getLogger(__name__)

WRITE_S: Final = 60.0
MOST_BYTES: Final = 64 << 20
"""How much may wait for the thread."""
FILE_BYTES: Final = 16 << 20
"""So much is written at once, before `WRITE_S` have passed."""
STOP_S: Final = 5.0
"""How long the end of the process waits for a disk that does not answer."""

_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15  # 2**64 divided by the golden ratio
_TURN: Final = 2**64


class ServedLog:
    """Takes a share of the answers of this process, and writes them to a folder.

    Read number n of a process is sampled if the fraction of n times the golden ratio, plus a phase, is below the share. So sampled reads
    are spread evenly over all reads, and over every second, third or n-th of them: callers that take turns are sampled alike. Each process
    draws its phase by chance, because else every process would sample its first read.

    Parameters
    ----------
    folder : Path
        Where the files go, in a folder a day. It is made when the first file is written.
    share : float
        Of the reads, above 0 and up to 1.
    """

    def __init__(self, folder: Path, share: float) -> None:
        self._folder, self.share = folder, share
        self._below = round(share * _TURN)
        self.begin()
        _of_this_process.add(self)

    def begin(self) -> None:
        """Begin with nothing. A forked process does this: what waits is its parent's, whose thread it does not have."""
        self._lock = threading.Lock()  # held for a few additions
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._is_failing = self._is_dropping = False
        self._n_reads, self._phase = 0, random.getrandbits(64)
        self._forget()

    def _forget(self) -> None:
        self._waiting: list[Sample] = []
        self._n_bytes = 0
        self._counts = Counts(self.share)

    def offer(self, read: Read, tables: Sequence[Table], at_us: int) -> None:
        """Take the answer of a read if it is one of the sample; raise nothing."""
        with self._lock:
            number = self._n_reads
            self._n_reads += 1
            self._counts.reads += 1
        if (number * _GOLDEN + self._phase) % _TURN >= self._below:
            return
        try:
            self._take([Sample(at_us, answer) for answer in read.answers(tables)])
        except Exception:
            self._lose("an answer could not be taken", 1)

    def write(self) -> None:
        """Write what waits into a file; a disk that refuses it loses it, which is counted and logged once."""
        with self._writing:
            with self._lock:
                samples, counts = self._waiting, self._counts
                self._forget()
            if not counts.dropped:
                self._is_dropping = False  # else each file would tell it again
            if not samples:
                self._carry(counts)
                return
            try:
                write_file(self._folder, samples, counts)
            except Exception:
                self._carry(counts)
                self._lose("a file could not be written", counts.sampled)
                return
            if self._is_failing:
                log.info("the log of what was served is written again")
            self._is_failing = False

    def close(self) -> None:
        """Write what waits, and end the thread. What the disk has not taken after `STOP_S` is lost, and told."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                log.warning("the log of what was served loses answers: they were not written within %g s", STOP_S)

    def _start(self) -> None:
        """Start the thread, and let the end of the process wait for it; a child of `multiprocessing` runs no ``atexit``."""
        thread = threading.Thread(target=self._run, name="served-log", daemon=True)
        thread.start()
        self._thread = thread
        Finalize(None, self.close, exitpriority=0)

    def _take(self, samples: list[Sample]) -> None:
        n_bytes = sum(_size(sample.answer) for sample in samples)
        with self._lock:
            if self._thread is None and not self._stopped:
                self._start()
            is_full = self._n_bytes + n_bytes > MOST_BYTES
            if is_full:
                self._counts.dropped += 1
            else:
                self._waiting += samples
                self._n_bytes += n_bytes
                self._counts.sampled += 1
            begins = is_full and not self._is_dropping
            self._is_dropping |= is_full
        if begins:
            log.warning("the log of what was served drops answers: they come faster than they are written")
        if self._n_bytes > FILE_BYTES:
            self._wake.set()

    def _carry(self, counts: Counts) -> None:
        """Leave the counts of a file that was not written to the next one."""
        with self._lock:
            self._counts.reads += counts.reads
            self._counts.dropped += counts.dropped

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(WRITE_S)
            self._wake.clear()
            self.write()
        self.write()  # what came while the last file was written

    def _lose(self, what: str, n: int) -> None:
        with self._lock:
            self._counts.dropped += n
            begins, self._is_failing = not self._is_failing, True
        if begins:
            log.warning("the log of what was served loses answers: %s", what, exc_info=True)


def _size(answer: Answer) -> int:
    """Return about how many bytes of memory an answer holds."""
    table = answer.table
    cells = sum(len(raw) for column in table.cells.values() for raw in column)
    return (
        table.values.nbytes + table.event_us.nbytes + answer.heads.nbytes + cells + sum(map(len, answer.keys)) + 1_000
    )


@cache
def log_of(folder: Path, share: float) -> ServedLog:
    """Return the log of this process at a folder; all its stores share it."""
    return ServedLog(folder, share)


_of_this_process: WeakSet[ServedLog] = WeakSet()


def _begin_all() -> None:
    for one in _of_this_process:
        one.begin()


os.register_at_fork(after_in_child=_begin_all)
