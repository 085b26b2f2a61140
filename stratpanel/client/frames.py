"""DataFrames that are live views when a cell shows them. Imports pandas, so only those who return one import it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pandas as pd

from stratpanel.client.showing import Part, show


class LiveFrame(pd.DataFrame):  # type: ignore[misc]
    """A DataFrame that a cell shows as its part of the strategy's page. What is made of it is a plain DataFrame."""

    _metadata: ClassVar[list[str]] = ["_part"]
    _part: Part

    @classmethod
    def of(cls, frame: pd.DataFrame, part: Part) -> LiveFrame:
        """The same data, shown as `part`."""
        made = cls(frame)
        object.__setattr__(made, "_part", part)
        return made

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return repr(pd.DataFrame(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return show(self._part, include, exclude)
