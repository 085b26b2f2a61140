"""Three-way merge of the registry: what stood there last, what we want there, what a person made of it meanwhile.

Pure, on plain JSON; called by `registry.py` before a write that would meet a changed file. A person's value wins over
ours, field by field, and every such field is told; runtime fields are ours alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from stratpanel.model.kinds import shown
from stratpanel.model.merge import fresh
from stratpanel.supervisor.registry.entry import RUNTIME, Entry, in_step

Document = dict[str, Entry]


@dataclass(frozen=True)
class Edit:
    """One field that a person changed in the file; `field` is empty where the whole entry came or went."""

    id: str
    field: str
    before: Any
    after: Any
    ours: Any = None
    conflict: bool = False

    def __str__(self) -> str:
        """The edit in words, for an event; values of variables and parameters may be secret and are not shown."""
        if not self.field:
            what = "added" if self.before is None else "removed" if self.after is None else "kept, though we removed it"
            return f"{self.id}: {what} in the registry file"
        if self.field.partition(".")[0] in ("env", "params", "args"):
            return f"{self.id}: {self.field} changed in the registry file"
        lost = f", instead of our {shown(self.ours)}" if self.conflict else ""
        return f"{self.id}: {self.field} set to {shown(self.after)} in the registry file{lost}"


def merge(base: Document, ours: Document, theirs: Document) -> tuple[Document, list[Edit]]:
    """Return the merged document, in the person's order, and the person's edits that it takes over."""
    merged: Document = {}
    edits: list[Edit] = []
    for id, entry in theirs.items():
        old, mine = base.get(id), ours.get(id)
        if old is None and mine is None:
            merged[id] = fresh(entry)
            edits.append(Edit(id, "", None, entry))
        elif mine is None:
            if old is not None and same_wish(old, entry):
                continue  # we removed it, nobody touched it
            merged[id] = fresh(entry)
            edits.append(Edit(id, "", old, entry, conflict=True))
        else:
            merged[id] = merge_entry(id, old or {}, mine, entry, edits)
    for id, mine in ours.items():
        if id in theirs:
            continue
        if id in base:
            edits.append(Edit(id, "", base[id], None, ours=mine, conflict=not same_wish(base[id], mine)))
        else:
            merged[id] = fresh(mine)
    return merged, edits


def merge_entry(id: str, base: Entry, ours: Entry, theirs: Entry, edits: list[Edit]) -> Entry:
    """Return one entry merged; the person's edits are appended to `edits`."""
    theirs = in_step(theirs, base)
    runtime = {name: ours[name] for name in RUNTIME if name in ours}
    merged = _merge_object(id, "", base, ours, {**theirs, **runtime}, edits)
    return {**merged, **runtime}


_MISSING: Any = object()


def _merge_object(id: str, path: str, base: Entry, ours: Entry, theirs: Entry, edits: list[Edit]) -> Entry:
    merged: Entry = {}
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        old, mine, his = base.get(key, _MISSING), ours.get(key, _MISSING), theirs.get(key, _MISSING)
        field = f"{path}.{key}" if path else key
        if not path and key in RUNTIME:
            value = mine if mine is not _MISSING else his
        elif same(his, old) or same(his, mine):
            value = mine
        elif isinstance(his, dict) and isinstance(mine, dict):
            value = _merge_object(id, field, old if isinstance(old, dict) else {}, mine, his, edits)
        else:
            value = his
            before, after, lost = (None if item is _MISSING else item for item in (old, his, mine))
            edits.append(Edit(id, field, before, after, lost, conflict=not same(mine, old)))
        if value is not _MISSING:
            merged[key] = fresh(value)
    return merged


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values, where `true` is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one is other or (isinstance(one, bool) == isinstance(other, bool) and bool(one == other))


def same_wish(one: Entry, other: Entry, but: Collection[str] = RUNTIME) -> bool:
    """Equality of entries but for what we alone write."""
    return same(
        {key: value for key, value in one.items() if key not in but},
        {key: value for key, value in other.items() if key not in but},
    )
