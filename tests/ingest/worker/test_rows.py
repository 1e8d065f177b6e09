import msgspec
import numpy as np

from ingest.worker import rows
from transforms import kernels
from transforms.catalog import VIEW
from transforms.kernel import NAN, vector

SOCIAL = VIEW["social"]


def batch() -> rows.Batch:
    b = rows.Batch(SOCIAL)
    for i, symbol in enumerate(["A", "B", "A"]):
        b.add(symbol, 1_000_000 * i, 1_000_000 * i + 7, vector([float(i), NAN, -0.0, *[1.0 / (i + 3)] * 5]), 100 * i)
    return b


def test_rows_come_out_of_the_outbox_with_the_same_bits():
    columns = batch().columns()
    back = rows.decode(rows.encode(columns))
    assert back.view is SOCIAL and back.symbols == ["A", "B", "A"]
    assert back.values.tobytes() == columns.values.tobytes()
    assert back.event_us.tolist() == [0, 1_000_000, 2_000_000] and back.created_us.tolist() == [7, 1_000_007, 2_000_007]
    assert back.silent_us.tolist() == [0, 100, 200]
    assert back.versions == kernels.versions_of(SOCIAL)


def test_the_online_store_gets_the_last_row_of_each_symbol():
    newest = batch().newest()
    assert newest.symbols == ["A", "B"]
    assert newest.event_us.tolist() == [2_000_000, 1_000_000]
    assert newest.values[:, 0].tolist() == [2.0, 1.0]
    assert newest.silent_us.tolist() == [200, 100]


def test_rows_that_waited_over_an_upgrade_are_laid_out_by_name():
    packed = msgspec.msgpack.decode(rows.encode(batch().columns()))
    packed[1] = ["dropped_since", *SOCIAL.names[1:]]
    # A release before told no silences, and one after it no versions.
    back = rows.decode(msgspec.msgpack.encode(packed[:-2]))
    assert back.silent_us.tolist() == [0, 0, 0] and back.versions is None
    assert rows.decode(msgspec.msgpack.encode(packed[:-1])).silent_us.tolist() == [0, 100, 200]
    assert np.isnan(back.values[:, 0]).all()  # added since: null
    assert back.values[:, 3].tolist() == [1 / 3, 1 / 4, 1 / 5]


def test_a_vector_that_is_reused_does_not_change_a_row_that_was_added():
    b = rows.Batch(SOCIAL)
    out = vector([1.0] * 8)
    b.add("A", 1, 1, out)
    out[0] = 5.0
    assert b.columns().values[0, 0] == 1.0
