"""A whole notebook becomes a script: the cells tagged `strategy` (and papermill's `parameters`), nothing else.

Called by `Workspace.promote_notebook` and `stratpanel add research.ipynb`. Outputs, exploration and markdown stay
behind; magics and shell lines are refused, since the strategy's interpreter knows none. nbformat reads the file and
jupytext writes the script.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stratpanel.model.errors import InvalidValue, StratpanelError

TAGS = ("parameters", "strategy")
MAGIC = re.compile(r"^\s*(%|!|\?|\w+\?\s*$)")


def script_of(notebook: Path) -> str:
    """The script made from the tagged cells, in the notebook's order, with a header that says where it came from.

    Raises InvalidValue when no cell is tagged or a tagged cell holds a magic, StratpanelError when the file cannot be
    read or the extra `jupyter` is not installed.
    """
    try:
        import jupytext
        import nbformat
    except ImportError:
        raise StratpanelError("reading notebooks needs an extra: pip install 'stratpanel[jupyter]'") from None
    try:
        document = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise StratpanelError(f"cannot read {notebook} as a notebook: {error}") from None
    cells = [cell for cell in document.cells if cell.cell_type == "code" and _tags(cell) & set(TAGS)]
    if not any("strategy" in _tags(cell) for cell in cells):
        raise InvalidValue(
            f"no cell of {notebook.name} is tagged `strategy`; tag the cells that make the strategy "
            "(JupyterLab: property inspector, Cell Tags) and save the notebook"
        )
    for number, cell in enumerate(document.cells, 1):
        if cell in cells:
            _refuse_magics(notebook.name, number, cell.source)
    kept = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(_plain(cell.source)) for cell in cells])
    body: str = jupytext.writes(kept, fmt={"extension": ".py", "format_name": "light"})
    return _header(notebook, len(cells), len(document.cells)) + _without_metadata(body)


def _tags(cell: Any) -> set[str]:
    return set(cell.get("metadata", {}).get("tags", []))


def _plain(source: str) -> str:
    """The cell without a leading `%%strategy` line, which the magic itself would take away."""
    return re.sub(r"\A%%strategy\b[^\n]*\n", "", source)


def _refuse_magics(name: str, number: int, source: str) -> None:
    for line_number, line in enumerate(_plain(source).splitlines(), 1):
        if MAGIC.match(line):
            raise InvalidValue(
                f"cell {number} of {name}, line {line_number}: {line.strip()!r} works in a notebook only; "
                "move it to a cell that is not tagged"
            )


def _header(notebook: Path, kept: int, total: int) -> str:
    return (
        f"# Made from the notebook {notebook.name}: {kept} of its {total} cells, tagged `strategy` or `parameters`.\n"
        "# Edit the notebook and promote it again, or edit here; what runs is the deployed copy.\n\n"
    )


def _without_metadata(script: str) -> str:
    """jupytext's header names the kernel and its own version, which would make every save a new version."""
    return re.sub(r"\A# ---\n(#[^\n]*\n)*?# ---\n\s*", "", script)
