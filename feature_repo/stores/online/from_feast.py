"""What Feast hands over, entity keys and rows, as bytes for Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from feast import utils
from feast.errors import FeastError
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisType, _versioned_fv_name
from feast.types import Float64, Int64

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.tables.schema import SILENCE
from feature_repo.stores.online.format import encode_time, with_created, with_silence
from feature_repo.stores.online.pack import packed_names, packed_row
from feature_repo.stores.online.record import Dtype, Layout, layout_of
from feature_repo.stores.online.write import ROWS_PER_SCRIPT, Command, script_calls
from transforms.times import us_of_datetime

_DTYPES: Final[dict[Any, Dtype]] = {Float64: "Float64", Int64: "Int64"}


class EntityRowsError(UserError, FeastError, ValueError):  # type: ignore[misc]  # Feast is untyped here
    """The entities of a request name no row that could be read or written. The feature server answers 422."""

    def http_status_code(self) -> int:
        """Return the status that Feast's feature server answers with."""
        return 422


class MissingJoinKeyError(EntityRowsError, KeyError):
    """The rows lack a join key; Feast itself raises ``KeyError``."""

    __str__ = Exception.__str__  # that of KeyError puts the message into quotes


def entity_keys(config: Any, entities: Iterable[Any]) -> list[bytes]:
    """Return the keys of Feast's ``EntityKey`` messages, in order. Raise `EntityRowsError` if a value is null."""
    project, version = config.project.encode(), config.entity_key_serialization_version
    keys = []
    for entity in entities:
        for name, value in zip(entity.join_keys, entity.entity_values, strict=True):
            if value.WhichOneof("val") is None:
                raise null_key(name)
        keys.append(serialize_entity_key(entity, version) + project)
    return keys


def null_key(name: str) -> EntityRowsError:
    """Return the error for a null value of a join key."""
    return EntityRowsError(f"the entity key {name} is null in at least one row; leave such rows out")


def script_calls_of_feast(config: Any, table: Any, data: Sequence[Any]) -> list[Command]:
    """Return the commands that write rows as Feast hands them over: entity key, values, event time, created time.

    A value `SILENCE`, which a materialised row has, is no feature: it goes into the time of the row.
    """
    settings, view, layout = config.online_store, _versioned_fv_name(table, config), layout_of_table(table)
    lone = settings.packed_only and layout is not None
    keys = entity_keys(config, [entity for entity, *_ in data])
    rows = [
        packed_row(
            view,
            with_silence(_time(event, created), values[SILENCE].int64_val * 1_000 if SILENCE in values else 0),
            {name: value.SerializeToString() for name, value in values.items() if name != SILENCE},
            layout,
            lone=lone,
        )
        for _, values, event, created in data
    ]
    is_cluster = settings.redis_type == RedisType.redis_cluster or settings.address().is_cluster
    rows_per_script = 1 if is_cluster else ROWS_PER_SCRIPT
    left_out = packed_names(view, layout.names) if layout is not None and lone else b""
    return script_calls(keys, rows, settings.key_ttl_seconds or 0, rows_per_script, left_out=left_out)


def layout_of_table(table: Any) -> Layout | None:
    """Return the layout of the records of a feature view; None if a feature is neither Float64 nor Int64."""
    fields = [field for field in table.features if field.name != SILENCE]
    dtypes = tuple(_DTYPES.get(field.dtype) for field in fields)
    return None if None in dtypes or not dtypes else layout_of(tuple(field.name for field in fields), dtypes)


def _time(event: datetime, created: datetime | None) -> bytes:
    """Return the time field of a row. Feast gives no created time, or pandas' NaT, where the source has none."""
    time = encode_time(us_of_datetime(utils.make_tzaware(event)))
    if created is None or created != created:
        return time
    return with_created(time, us_of_datetime(utils.make_tzaware(created)))
