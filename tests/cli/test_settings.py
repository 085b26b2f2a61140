"""What stratpanel.toml says reaches the strategies and the commands."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import wait_for
from tests.workbench import Workbench

SAYS_LIMITS = """
import resource as r, time
print("nofile", r.getrlimit(r.RLIMIT_NOFILE), "core", r.getrlimit(r.RLIMIT_CORE), flush=True)
time.sleep(600)
"""


def limits(bench: Workbench, text: str) -> None:
    path = bench.folder / "stratpanel.toml"
    path.write_text(path.read_text().replace("[limits]\n", f"[limits]\n{text}\n"))


def test_limits_of_the_workspace_hold_for_strategies_without_their_own(tmp_path: Path) -> None:
    bench = Workbench.make(tmp_path / "w")
    limits(bench, "memory_mb = 300\nnofile = 2048")
    try:
        bench.cli("up")
        bench.register("plain", SAYS_LIMITS)
        bench.register("own", SAYS_LIMITS, limits={"nofile": 512, "memory_mb": 200})
        assert bench.status("plain")["config"]["limits"]["memory_mb"] == 300
        assert bench.status("own")["config"]["limits"]["memory_mb"] == 200
        bench.cli("start", "plain", "own")
        wait_for(lambda: "nofile (2048," in bench.log("plain"), 10, "the workspace's limit")
        wait_for(lambda: "nofile (512," in bench.log("own"), 10, "its own limit")
        registry = json.loads((bench.folder / "strategies" / "strategy_configs.json").read_text())
        assert "limits" not in registry["plain"], "it follows the workspace"
        assert registry["own"]["limits"] == {"memory_mb": 200, "nofile": 512}
    finally:
        bench.close()


def test_the_environment_variable_of_the_seed_is_honoured(tmp_path: Path) -> None:
    bench = Workbench.make(tmp_path / "w")
    bench.environment["STRATEGY_MEMORY_LIMIT_MB"] = "640"
    try:
        bench.cli("up")
        bench.register("plain", SAYS_LIMITS)
        assert bench.status("plain")["config"]["limits"]["memory_mb"] == 640
    finally:
        bench.close()


def test_a_mistake_in_the_settings_names_file_line_and_field(tmp_path: Path) -> None:
    bench = Workbench.make(tmp_path / "w")
    limits(bench, "memory = 300")
    try:
        done = bench.cli("up", check=False)
        assert done.returncode == 3
        assert "stratpanel.toml line" in done.stderr
        assert "memory_mb" in done.stderr, "the nearest name is offered"
    finally:
        bench.close()
