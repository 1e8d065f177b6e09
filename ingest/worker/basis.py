"""The settings that rows depend on, as the checkpoint keeps them.

A new owner makes again what the last one had processed and not saved. It does so with the settings of the last one: with others the same
messages would be refused or taken otherwise, and rows would be lost or come twice. Its own settings count from there on.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import msgspec

from ingest.settings import Settings
from transforms.instrument import Instrument

_LOG = logging.getLogger(__name__)
FIELD = b"settings"  # of the checkpoint
NAMES = ("allowed_lateness_ms", "max_future_ms", "max_age_ms", "max_symbols", "symbols", "instruments")
"""The grid is not here: a state of another grid starts anew."""

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode(settings: Settings) -> bytes:
    """Return the settings that rows depend on; equal settings give equal bytes."""
    return msgspec.json.encode({name: getattr(settings, name) for name in NAMES}, order="deterministic")


def decode(data: bytes | None, settings: Settings) -> Settings:
    """Return ``settings`` with those that ``encode`` packed; what another version did not pack, or packed otherwise, stays."""
    if data is None:
        return settings
    try:
        return dataclasses.replace(settings, **_found(data))
    except msgspec.MsgspecError as error:
        _LOG.warning("the settings in the checkpoint cannot be read, and those of today count: %s", error)
        return settings


def differing(data: bytes | None, settings: Settings) -> list[str]:
    """Return the names of the settings that differ from those that ``encode`` packed."""
    packed = decode(data, settings)
    return [name for name in NAMES if getattr(packed, name) != getattr(settings, name)]


def _found(data: bytes) -> dict[str, Any]:
    types = {"symbols": frozenset[str], "instruments": dict[str, Instrument]}
    packed = _decode(data)
    return {name: msgspec.json.decode(packed[name], type=types.get(name, int)) for name in NAMES if name in packed}
