"""What surrounds a strategy when it starts: interpreter, arguments, working directory, and an allow-listed environment.

Called by the start of a run, in a worker thread. It never hands on a variable of ours that is not named here: the
supervisor's own environment may hold tokens, and a leaked PYTHONPATH changes what a strategy imports.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stratpanel.model.errors import InvalidValue

ALLOWED: Final = frozenset(
    (
        *("PATH", "HOME", "USER", "LANG", "TZ", "VIRTUAL_ENV"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    )
)
ALLOWED_PREFIXES: Final = ("LC_", "CONDA_")
WINDOWS_NEEDS: Final = frozenset(
    ("SYSTEMROOT", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "COMSPEC")
)


def allowed_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The part of our own environment a strategy may see."""
    allowed = ALLOWED | WINDOWS_NEEDS if os.name == "nt" else ALLOWED
    return {name: value for name, value in own.items() if name in allowed or name.startswith(ALLOWED_PREFIXES)}


RESERVED: Final = frozenset(("SP_MODE", "SP_PARAMS_FILE"))


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that runs a strategy, and the virtual environment it belongs to (None: none)."""

    path: str
    venv: Path | None


def interpreter(setting: str | None, workspace: Path, default: str = sys.executable) -> Interpreter:
    """Resolve a strategy's interpreter: a path, a virtual-environment folder, a command on PATH, or the workspace's.

    Raises InvalidValue when there is none, naming what was looked for.
    """
    wanted = (setting or default or sys.executable).strip()
    path = Path(wanted).expanduser()
    if not path.is_absolute():
        found = shutil.which(wanted) if os.sep not in wanted and not (workspace / wanted).exists() else None
        path = Path(found) if found else workspace / path
    if path.is_dir():
        folder = path
        names = ("Scripts/python.exe",) if os.name == "nt" else ("bin/python", "bin/python3")
        path = next((folder / name for name in names if (folder / name).exists()), folder / names[0])
    if not path.exists():
        raise InvalidValue(
            f"the interpreter {wanted} does not exist ({path}); set a python or a virtual environment's folder",
            code="INTERPRETER_MISSING",
            fields={"interpreter": f"{path} does not exist"},
        )
    if not os.access(path, os.X_OK):
        raise InvalidValue(
            f"the interpreter {path} is not executable; chmod +x it or choose another",
            code="NOT_EXECUTABLE",
            fields={"interpreter": f"{path} is not executable"},
        )
    home = path.parent.parent
    return Interpreter(str(path), home if (home / "pyvenv.cfg").exists() else None)


def surroundings(
    *,
    own: Mapping[str, str],
    python: Interpreter,
    caps: Mapping[str, str],
    workspace_env: Mapping[str, str],
    strategy_env: Mapping[str, str],
    secrets: Mapping[str, str],
    reserved: Mapping[str, str],
    working_copy: Path,
) -> dict[str, str]:
    """The whole environment of a run, later sources winning: allowed, caps, `[env]`, its own, secrets, ours.

    `reserved` are the variables CONTRACTS promises (STRATEGY_ID and the like): nothing may override those.
    """
    env = allowed_environment(own)
    if python.venv is not None:
        env["VIRTUAL_ENV"] = str(python.venv)
        env["PATH"] = os.pathsep.join([str(Path(python.path).parent), env.get("PATH", os.defpath)])
    elif env.get("VIRTUAL_ENV") and not python.path.startswith(env["VIRTUAL_ENV"]):
        del env["VIRTUAL_ENV"]  # ours, not this interpreter's
    env |= {name: own.get(name) or cap for name, cap in caps.items()}
    env |= workspace_env
    env |= strategy_env
    env |= secrets
    env["PYTHONUNBUFFERED"] = "1"
    env |= reserved
    # the version's folder is sys.path[0] because the script lies in it; the working copy's folder comes next
    env["PYTHONPATH"] = os.pathsep.join(p for p in (str(working_copy), env.get("PYTHONPATH", "")) if p)
    return env


def parameter_variables(params: Mapping[str, object]) -> dict[str, str]:
    """`SP_<NAME>` for each parameter that is one plain value, for scripts that know nothing of us."""
    return {
        f"SP_{name.upper()}": json.dumps(value) if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if isinstance(value, str | int | float) and name.isidentifier() and f"SP_{name.upper()}" not in RESERVED
    }


def command(python: Interpreter, script: Path, args: Sequence[str]) -> list[str]:
    """The argument vector of a run."""
    return [python.path, str(script), *args]
