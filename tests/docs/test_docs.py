"""What the documents promise exists: pages, links, commands, settings, states, event types, routes, attributes."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from stratpanel.cli.parser import build
from stratpanel.client.connect import Workspace
from stratpanel.client.strategy import Strategy
from stratpanel.model.states import State
from stratpanel.model.strategy import Strategy as Model
from stratpanel.supervisor.api.openapi import document
from stratpanel.supervisor.configuration.settings import ALERTS, EVENT_TYPES, default_text, load_settings
from tests.docs.pages import PAGES, README, ROOT, Block, Command, blocks, commands, documents, links, prose, text_of


def named(value: object) -> str:
    return str(value) if not isinstance(value, Path) else value.name


@pytest.mark.parametrize("page", documents(), ids=named)
def test_every_relative_link_resolves(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to what is not there: {missing}"


def test_every_page_is_linked_from_the_readme() -> None:
    assert {f"docs/{page.name}" for page in PAGES} <= set(links(README))


def test_every_notebook_is_linked_from_the_readme() -> None:
    notebooks = {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert len(notebooks) >= 4
    assert notebooks <= set(links(README))


def test_the_readme_has_the_two_commands() -> None:
    lines = [
        line.split("#")[0].strip() for block in blocks("") if block.page == README for line in block.text.split("\n")
    ]
    assert "make serve" in lines
    assert "make test" in lines
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^serve:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)


def test_there_are_many_commands_to_check() -> None:
    assert len(commands()) > 80, "the extraction of command lines is broken"


@pytest.mark.parametrize("command", commands(), ids=named)
def test_every_command_line_parses(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        options = build().parse_args(command.words)
    except SystemExit:
        pytest.fail(f"{command.page.name} says `{command.line}`: {capsys.readouterr().err}")
    assert hasattr(options, "run"), f"{command} names no command"


@pytest.mark.parametrize("name", sorted(build()._subparsers._group_actions[0].choices), ids=named)  # type: ignore[union-attr, arg-type]
def test_every_command_is_documented(name: str) -> None:
    assert any(name in command.words for command in commands()), f"no page shows `stratpanel {name}`"


@pytest.mark.parametrize("block", blocks("python"), ids=named)
def test_python_blocks_are_python(block: Block) -> None:
    lines = block.text.splitlines()
    if lines[0].startswith("%"):  # a magic: the rest of its cell is Python
        lines = lines[1:]
    ast.parse("\n".join(lines))


@pytest.mark.parametrize("block", blocks("toml"), ids=named)
def test_toml_blocks_are_accepted(block: Block, tmp_path: Path) -> None:
    tables = tomllib.loads(block.text)
    if tables.keys() & {"paper", "live", "notify"}:
        from stratpanel.supervisor.configuration.secrets import Secrets

        path = tmp_path / "secrets.toml"
        path.touch(mode=0o600)
        path.write_text(block.text, encoding="utf-8")
        assert Secrets(path).read()
    elif tables.keys() & {"closed", "open", "hours"}:
        from stratpanel.market.overrides import read_overrides

        path = tmp_path / "calendar_overrides.toml"
        path.write_text(block.text, encoding="utf-8")
        assert read_overrides(path)
    else:
        (tmp_path / "stratpanel.toml").write_text(block.text, encoding="utf-8")
        load_settings(tmp_path)


def test_every_setting_is_documented() -> None:
    page = text_of(ROOT / "docs" / "configuration.md")
    keys = re.findall(r"^#? ?(\w+) = ", default_text(), re.MULTILINE)
    assert len(keys) > 15
    absent = {key for key in keys if f"`{key}`" not in page} - {"OPENALGO_HOST", "alice", "bob"}
    assert not absent, f"configuration.md does not name {absent}"


def test_the_states_are_those_of_the_model() -> None:
    page = text_of(ROOT / "docs" / "restarts-and-limits.md")
    told = re.findall(r"^\| `(\w+)` \|", page.split("## States")[1].split("\n## ")[0], re.MULTILINE)
    assert told == [state.value for state in State]


def test_the_event_types_are_those_of_the_settings() -> None:
    section = text_of(ROOT / "docs" / "alerts.md").split("## Types")[1].split("\n## ")[0]
    first, second = section.split("| type | when |")[1:]
    assert set(re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE)) == set(ALERTS)
    rows = [line.split("|")[1] for line in second.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(EVENT_TYPES) - set(ALERTS)


def test_the_routes_of_the_api_page_exist() -> None:
    known = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + r"\Z") for path in document("")["paths"]]
    text = text_of(ROOT / "docs" / "api.md")
    told = {path.rstrip(".,") for path in re.findall(r"(?<=\$URL)/[\w/.{}-]+|(?<![\w.])/api/[\w/.{}-]+", text)}
    assert len(told) > 20
    unknown = {path for path in told if not any(pattern.match(path) for pattern in known)}
    assert not unknown


def test_every_route_is_on_the_api_page() -> None:
    text = text_of(ROOT / "docs" / "api.md")
    last = {path.rstrip("/").split("/")[-1] for path in document("")["paths"]}
    absent = {word for word in last if not word.startswith("{") and word not in text}
    assert not absent


@pytest.mark.parametrize("page", documents(), ids=named)
def test_attributes_of_workspace_and_strategy_exist(page: Path) -> None:
    text = text_of(page)
    fields = set(Model.param) | set(dir(Strategy))
    unknown = {name for name in re.findall(r'ws\["\w+"\]\.(\w+)', text) if name not in fields}
    unknown |= {name for name in re.findall(r"\bws\.(\w+)", text) if name not in dir(Workspace)}
    if page.name == "notebooks.md":
        unknown |= {name for name in re.findall(r"`\.(\w+)(?![\w/])", prose(page)) if name not in fields}
    assert not unknown, f"{page.name} names {unknown}"
