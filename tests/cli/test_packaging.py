"""pyproject.toml and environment.yml promise the same versions, and every dependency gives its reason."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IN_CONDA = ("examples", "calendars", "jupyter")


def _ranges_of_environment() -> set[str]:
    """The quoted requirement lines of environment.yml; plain enough to need no YAML parser."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    return {line for line in re.findall(r'^\s+- "([^"]+)"$', text, re.MULTILINE) if not line.startswith("-e")}


def test_environment_yml_has_the_ranges_of_pyproject() -> None:
    wanted = set(PROJECT["dependencies"])
    for extra in IN_CONDA:
        wanted |= set(PROJECT["optional-dependencies"][extra])
    assert _ranges_of_environment() == wanted


def test_environment_yml_has_the_python_of_pyproject() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    python = re.search(r"^\s+- python(\S+)$", text, re.MULTILINE)
    assert python is not None
    assert python[1] == PROJECT["requires-python"]


def test_every_dependency_has_an_upper_bound_or_is_data() -> None:
    without = [name for name in PROJECT["dependencies"] if "<" not in name and not name.startswith("tzdata")]
    assert without == []


def test_every_dependency_gives_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    bare = [line for line in lines if re.match(r'\s+"[a-z-]+>=', line) and "#" not in line]
    start = lines.index("dependencies = [")
    end = lines.index("]", start)
    assert [line for line in bare if line in lines[start:end]] == []
