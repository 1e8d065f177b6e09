"""Raw tables are read day by day, and rows that arrive after midnight keep their place."""

from ingest.imports.tables.raw_read import merged


def test_slices_are_merged_by_arrival_and_opened_no_sooner_than_needed():
    opened = []

    def slice_of(name, *at):
        def rows():
            opened.append(name)
            yield from ((t, 0, "trade", f"{name}{t}") for t in at)

        return rows

    rows = merged([(0, slice_of("a", 1, 5, 109)), (100, slice_of("b", 99, 104, 110)), (200, slice_of("c", 201))], 3)
    assert [next(rows)[3], list(opened)] == ["a1", ["a"]]
    assert next(rows)[3] == "a5"
    assert [row[3] for row in rows] == ["b99", "b104", "a109", "b110", "c201"]
