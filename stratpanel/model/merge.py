"""RFC 7396 merge patch: how a PATCH body changes a configuration. Pure, on plain JSON values."""

from __future__ import annotations

from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` changed by `patch` as RFC 7396 says: objects merge, null removes, all else replaces.

    Neither argument is changed, and the result shares no object or list with them.
    """
    if not isinstance(patch, dict):
        return fresh(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return {key: value if key in patch else fresh(value) for key, value in merged.items()}


def fresh(value: Any) -> Any:
    """Return a copy of a JSON value that shares no object or list with it."""
    if isinstance(value, dict):
        return {key: fresh(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fresh(item) for item in value]
    return value
