"""Sources of a view's rows: its offline table, and a push source in front of it for rows that arrive live."""

from feast import PushSource
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource

from transforms import catalog


def push_source(view: catalog.View) -> PushSource:
    """Return the source ``<view>_push_source`` in front of the table that has the view's name."""
    table = PostgreSQLSource(
        name=f"{view.name}_table",
        table=view.name,
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        description=f"Every row of {view.name}, as facts: a correction is a new row with a later created_timestamp.",
        owner="market-data",
    )
    return PushSource(
        name=f"{view.name}_push_source",
        batch_source=table,
        description=f"Rows of {view.name} as they are made.",
        owner="market-data",
    )
