"""Commands about what is registered and which version runs: add, remove, deploy, versions, rollback, promote."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from stratpanel.cli import DONE, NOT_DONE
from stratpanel.cli.session import connect, path_of
from stratpanel.client.connection import deployed_version
from stratpanel.model.errors import StratpanelError


def add(options: argparse.Namespace) -> int:
    """Register in place below strategies/scripts, copy from elsewhere; a notebook gives its `strategy` cells."""
    path = Path(options.path).expanduser().resolve()
    if not path.exists():
        raise StratpanelError(f"cannot add {options.path}: there is no such file or folder")
    body: dict[str, Any] = {"id": options.id or path.stem, "path": str(path)}
    if path.suffix == ".ipynb":
        from stratpanel.notebook.promote import script_of

        body = {"id": body["id"], "source": script_of(path)}
    row = connect(options).post("/api/strategies", body)
    print(f"{row['id']}: added; start it with `stratpanel start {row['id']}`")
    return DONE


def remove(options: argparse.Namespace) -> int:
    """Unregister; refused while any of it lives."""
    connect(options).delete(path_of(options.id))
    print(f"{options.id}: removed; its script, versions, state and logs stay on disk")
    return DONE


def deploy(options: argparse.Namespace) -> int:
    """Copy the working copy into a new immutable version, or say that nothing changed."""
    api = connect(options)
    answer = api.post(path_of(options.id, "deploy"))
    version = deployed_version(api, path_of(options.id))
    print(f"{options.id}: {'deployed version' if answer['changed'] else 'unchanged, version'} {version}")
    for warning in answer.get("warnings", []):
        print(f"  warning: {warning}", file=sys.stderr)
    return DONE


def versions(options: argparse.Namespace) -> int:
    """Deployed versions, newest first; `*` marks the one that runs next."""
    body = connect(options).get(path_of(options.id, "versions"))
    if options.json:
        json.dump(body, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return DONE
    from stratpanel.cli.render import moment

    for row in body["versions"]:
        mark = "*" if row.get("current") else " "
        mode = "live" if row.get("live") else "paper"
        made = moment(row.get("created"))
        print(f"{mark} {row['n']:>4}  {row['sha'][:12]}  {mode:<5}  {made}  {row.get('by') or ''}".rstrip())
    return DONE


def rollback(options: argparse.Namespace) -> int:
    """Choose an earlier version for the next start; nothing that runs is touched."""
    connect(options).post(path_of(options.id, "rollback"), {"n": options.n})
    print(f"{options.id}: version {options.n} runs at the next start")
    return DONE


def promote(options: argparse.Namespace) -> int:
    """Allow the deployed version to trade live, after its name has been typed."""
    api = connect(options)
    row = api.get(path_of(options.id))
    if not options.yes:
        print(f"{options.id} version {row['version']} will trade LIVE, with the live secrets, from its next start on")
        try:
            typed = input(f"type {options.id} to promote it: ")
        except EOFError:
            typed = ""
        if typed.strip() != options.id:
            print("stratpanel: not promoted: the name was not typed", file=sys.stderr)
            return NOT_DONE
    answer = api.post(path_of(options.id, "promote"), {"mode": "live", "version": row["version"]})
    print(f"{options.id}: version {answer['strategy']['version']} is promoted to live")
    return DONE
