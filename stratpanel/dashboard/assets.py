"""Puts the browser's code and styles together: local files joined into one module per component, so no request leaves.

Every component module calls it at class creation, and its components derive from `Scripted`; it only reads files of
this package.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from panel.custom import JSComponent

HERE = Path(__file__).parent


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def script(*names: str) -> str:
    """One ES module out of `js/<name>.js`, in this order, the shared foundations first."""
    parts = [_text(HERE / "js" / f"{name}.js") for name in ("base", "store", *names)]
    return "\n".join(parts)


def styles(*names: str) -> list[str]:
    """The shared tokens and `css/<name>.css`, as style sheets of one component."""
    return [_text(HERE / "css" / f"{name}.css") for name in ("tokens", *names)]


class Scripted(JSComponent):
    """A component whose script browsers run as it is.

    Panel translates every script from TypeScript in the browser, component by component, on each page: a sixth of what
    a cold page computes before it shows anything. It leaves alone what comes as a bundle, kept under its own name.
    """

    __abstract = True

    def _get_properties(self, doc: Any) -> dict[str, Any]:
        properties: dict[str, Any] = super()._get_properties(doc)
        return properties | {"bundle": _name(properties["esm"])}


@cache
def _name(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
