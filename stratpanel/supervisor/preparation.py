"""What a run needs from the disk before it can be ordered: its version, secrets, parameters, environment; as one
RunSpec.

Called by the start of a run in a worker thread, with plain values only. It starts nothing; what is missing or refused
is raised as an error that names it and the remedy.
"""

from __future__ import annotations

import secrets as random_bytes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stratpanel.model.errors import StratpanelError
from stratpanel.process.records import write_json
from stratpanel.supervisor.environment import Interpreter, command, interpreter, parameter_variables, surroundings
from stratpanel.supervisor.live import reports
from stratpanel.supervisor.live.parameters import Parameters, check_values, may_declare, read_parameters
from stratpanel.supervisor.unit import Order
from stratpanel.supervisor.versions.uploads import entry_of

if TYPE_CHECKING:
    from stratpanel.supervisor.core import Core

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can be ordered: its spec, and what a person should hear about it."""

    spec: dict[str, Any]
    version: int
    mode: str
    notes: list[str]
    deployed: bool


class Preparation:
    """Puts RunSpecs together. Reads the core's settings, never its units."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def new_run_id(self, id: str) -> str:
        """`<id>~<UTC time>~<random>`: unique, and readable in a process list."""
        return f"{id}~{self._core.clock.now():%Y%m%dT%H%M%S}~{random_bytes.token_hex(4)}"

    def python(self, config: dict[str, Any]) -> Interpreter:
        """The interpreter of a strategy. Raises InvalidValue."""
        core = self._core
        return interpreter(config.get("interpreter"), core.workspace, core.settings.python or core.python)

    def read_parameters(self, id: str, config: dict[str, Any]) -> Parameters:
        """What the Param class of the script that a start runs declares; whatever is wrong with it is its `problem`."""
        try:
            script = self._script(id, config)
            return read_parameters(script, self.python(config).path) if may_declare(script) else Parameters()
        except StratpanelError as error:
            return Parameters(problem=error.message)

    def check_params(self, id: str, config: dict[str, Any], params: dict[str, Any]) -> None:
        """Ask the script's own Param class, in a child process, whether it takes these values. Raises InvalidValue."""
        values = {**(config.get("params") or {}), **params}
        check_values(self._script(id, config), self.python(config).path, values)

    def _script(self, id: str, config: dict[str, Any]) -> Path:
        """The promoted version's script for a live strategy, else the working copy, which a person's start deploys."""
        live = self._core.shelf.versions.live(id) if config.get("mode") == "live" else None
        return live.entry_path if live is not None else entry_of(self._core.shelf.working_copy(config["file_path"]))

    def run(self, id: str, config: dict[str, Any], order: Order, instance: dict[str, Any]) -> Prepared:
        """Deploy or verify the version, read secrets, and make the spec."""
        core = self._core
        source = core.shelf.working_copy(config["file_path"])
        mode = order.mode or config.get("mode") or "paper"
        python = self.python(config)
        version, deployed, notes = core.shelf.choose(id, source, mode, order, python.path)
        run_id = self.new_run_id(id)
        params = {**(config.get("params") or {}), **order.params}
        args = [str(arg) for arg in (order.args if order.args is not None else config.get("args") or [])]
        folder = core.runtime.run_dir(id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        env = self.environment(id, config, mode, python, run_id)
        env |= self._parameters(folder, params)
        live = reports.file_of(core.workspace, id, run_id)
        live.parent.mkdir(parents=True, exist_ok=True)
        env["STRATPANEL_LIVE_FILE"] = str(live)
        (folder / "stop_reason").unlink(missing_ok=True)  # of the run before
        env["STRATPANEL_STOP_REASON"] = str(folder / "stop_reason")
        env["STRATPANEL_RUN_ID"] = run_id
        spec = self._spec(id, config, command(python, version.entry_path, args), env)
        spec |= {
            "run_id": run_id,
            "started_by": order.by,
            "mode": mode,
            "version": version.n,
            "stop_reason_file": str(folder / "stop_reason"),
            "instance": {**instance, "params": params, "args": args, "cause": order.cause},
        }
        return Prepared(spec, version.n, mode, notes, deployed)

    def _parameters(self, folder: Path, params: dict[str, Any]) -> dict[str, str]:
        """The run's parameters, if it has any: a file of JSON, and a variable for each plain value."""
        if not params:
            return {}
        write_json(folder / "params.json", params)
        return {"SP_PARAMS_FILE": str(folder / "params.json"), **parameter_variables(params)}

    def environment(
        self, id: str, config: dict[str, Any], mode: str, python: Interpreter, run_id: str
    ) -> dict[str, str]:
        """The whole environment of one strategy in one mode, secrets included."""
        core = self._core
        source = core.shelf.working_copy(config["file_path"])
        folder = source if source.is_dir() else source.parent
        state = core.workspace / "strategies" / "state" / id
        state.mkdir(parents=True, exist_ok=True)
        return surroundings(
            own=core.environ,
            python=python,
            caps=core.thread_caps,
            workspace_env=core.settings.env,
            strategy_env={str(k): str(v) for k, v in (config.get("env") or {}).items()},
            secrets=core.secrets.for_run(mode, id),
            reserved={
                "PYTHONPYCACHEPREFIX": str(core.runtime.pycache),
                "STRATEGY_ID": id,
                "STRATEGY_NAME": str(config.get("name") or id),
                "STRATEGY_DIR": str(folder),
                "STRATEGY_STATE_DIR": str(state),
                "SP_MODE": mode,
                "STRATPANEL_RUN_ID": run_id,
            },
            working_copy=folder,
        )

    def _spec(self, id: str, config: dict[str, Any], argv: list[str], env: dict[str, str]) -> dict[str, Any]:
        core = self._core
        limits, logs = config.get("limits") or {}, config.get("log") or {}
        cwd = Path(config["cwd"]).expanduser() if config.get("cwd") else core.workspace
        return {
            "id": id,
            "argv": argv,
            "cwd": str(core.workspace / cwd),
            "env": env,
            "log": {
                "path": str(core.log_path(id)),
                "max_bytes": int(float(logs.get("max_mb") or 10) * MIB),
                "keep": int(logs["keep"]) if logs.get("keep") is not None else 5,
            },
            "grace_s": float(config["grace_s"]) if config.get("grace_s") is not None else 5.0,
            "start_seconds": float(config.get("start_seconds") or 0.0),
            "nofile": int(limits.get("nofile") or core.settings.nofile),
            "nice": limits.get("nice"),
            "oom_score_adj": 500,
            "stop_at": None,
            "stop_at_reason": "window",
            "config": config,
        }

    def panic_script(self, script: str, by: str) -> dict[str, Any]:
        """The spec of the trader's own script after a panic: once, despite the panic, with the live secrets."""
        core = self._core
        path = core.workspace / script
        config = {"name": "after panic", "file_path": str(path), "mode": "live"}
        python = self.python(config)
        run_id = self.new_run_id(AFTER_PANIC)
        spec = self._spec(AFTER_PANIC, config, command(python, path, []), {})
        spec["env"] = self.environment(AFTER_PANIC, config, "live", python, run_id)
        spec |= {"run_id": run_id, "started_by": by, "mode": "live", "version": None, "instance": {}}
        return {**spec, "despite_panic": True}


AFTER_PANIC = "after-panic"  # the id under which the script's runs, log and figures are found
