"""What the registry's tests share: a registry in a fresh folder, and how a person edits it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stratpanel.model.strategy import Strategy
from stratpanel.supervisor.registry.registry import Registry

SEED = """{
  "strategy_id": {
    "name": "EMA Crossover",
    "file_path": "ema_crossover.py",
    "user_id": "user123",
    "is_running": false,
    "is_scheduled": true,
    "schedule_start": "09:20",
    "schedule_stop": "15:15",
    "schedule_days": ["mon", "tue", "wed", "thu", "fri"],
    "last_started": "2024-01-15T09:20:00",
    "last_stopped": "2024-01-15T15:15:00",
    "pid": null,
    "manually_stopped": false,
    "auto_restart": false,
    "restart_count": 0
  }
}
"""


def registry_at(folder: Path, text: str | bytes | None = None) -> Registry:
    """A registry at its place in a workspace; `text` is what stands there."""
    path = folder / "strategies" / "strategy_configs.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Registry(path)


def loaded(folder: Path, text: str = SEED) -> tuple[Registry, dict[str, Strategy]]:
    """A registry that was loaded from `text` and written once by us."""
    registry = registry_at(folder, text)
    strategies = registry.load()
    assert registry.save(strategies).kept
    return registry, strategies


def edit(registry: Registry, change: Callable[[dict[str, Any]], object]) -> None:
    """A person's edit: read, change, write to a new file, rename, as careful editors do."""
    document = json.loads(registry.path.read_text())
    change(document)
    new = registry.path.with_suffix(".edited")
    new.write_text(json.dumps(document, indent=4))
    os.replace(new, registry.path)


def written(registry: Registry) -> dict[str, Any]:
    """What stands in the file."""
    found = json.loads(registry.path.read_text())
    assert isinstance(found, dict)
    return found
