"""What the feeds by hand of all kernels share: times in seconds, rows by name, and a restart."""

from __future__ import annotations

from math import isnan
from typing import Any

from transforms.catalog import View
from transforms.kernel import Vector, from_bytes, to_bytes, zeros

Row = dict[str, float | None]


class KernelFeed:
    """One symbol's ``kernel``, which writes rows of ``view``."""

    kernel: Any
    view: View
    state: Vector

    def row(self, t: float) -> Row:
        """The row of ``t``, None where null."""
        out = zeros(len(self.view.features))
        self.kernel.emit(self.state, round(t * 1e6), out)
        return {name: None if isnan(x) else float(x) for name, x in zip(self.view.names, out, strict=True)}

    def restart(self) -> None:
        """Save the state as bytes and go on from them."""
        self.state = from_bytes(to_bytes(self.state))
