"""Deployed versions: complete, immutable, chosen by people, and never what somebody is still editing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stratpanel.model.errors import Conflict, InvalidValue, NotFound, TooLarge
from stratpanel.supervisor.versions import workingcopy
from stratpanel.supervisor.versions.versions import Versions


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "strategies" / "scripts"
    folder.mkdir(parents=True)
    (folder / "ema.py").write_text("import helper\nprint(helper.WORD)\n")
    (folder / "helper.py").write_text("WORD = 'one'\n")
    return folder


@pytest.fixture
def versions(tmp_path: Path, scripts: Path) -> Versions:
    return Versions(tmp_path)


def printed_by(versions: Versions, mode: str = "paper") -> str:
    version = versions.to_run("ema", mode)
    command = [sys.executable, "-B", str(version.entry_path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_deploy_has_the_script_with_its_siblings_and_says_who_and_when(versions: Versions, scripts: Path) -> None:
    done = versions.deploy("ema", scripts / "ema.py", by="anna", note="first")
    version = done.version
    assert done.created
    assert sorted(version.files) == ["ema.py", "helper.py"]
    assert (version.n, version.by, version.note, version.source) == (1, "anna", "first", "strategies/scripts/ema.py")
    assert version.folder == versions.root / "ema" / f"1-{version.sha}"
    manifest = json.loads((versions.root / "ema" / f"1-{version.sha}.json").read_text())
    assert manifest["files"] == version.files
    assert printed_by(versions) == "one"
    assert version.to_json()["version"] == 1


def test_edits_never_reach_what_runs_before_a_deploy(versions: Versions, scripts: Path) -> None:
    versions.deploy("ema", scripts / "ema.py", by="me")
    assert not versions.differs("ema", scripts / "ema.py")
    (scripts / "helper.py").write_text("WORD = 'two'\n")
    assert versions.differs("ema", scripts / "ema.py")
    assert printed_by(versions) == "one"
    (scripts / "ema.py").write_text("half an ed")
    assert printed_by(versions) == "one"
    (scripts / "ema.py").unlink()
    assert printed_by(versions) == "one"
    assert versions.differs("ema", scripts / "ema.py")


def test_edits_during_a_deploy_are_whole_or_not_at_all(versions: Versions, scripts: Path) -> None:
    """What is checked, hashed and written is one reading: a version's files always fit its hashes."""
    over = threading.Event()

    def edit() -> None:
        number = 0
        while not over.is_set():
            number += 1
            temporary = scripts / "helper.new"
            temporary.write_text(f"WORD = '{number}'\n" * 50)
            os.replace(temporary, scripts / "helper.py")

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        for _ in range(25):
            versions.verify(versions.deploy("ema", scripts / "ema.py", by="me").version)
    finally:
        over.set()
        editor.join()
    for version in versions.list("ema"):
        versions.verify(version)
        assert len(set((version.folder / "helper.py").read_text().splitlines())) == 1


def test_an_unchanged_working_copy_makes_no_version(versions: Versions, scripts: Path) -> None:
    assert versions.deploy("ema", scripts / "ema.py", by="me").created
    again = versions.deploy("ema", scripts / "ema.py", by="you")
    assert not again.created
    assert again.version.by == "me"
    assert [version.n for version in versions.list("ema")] == [1]


def test_a_new_version_never_inherits_live(versions: Versions, scripts: Path) -> None:
    with pytest.raises(Conflict, match="stratpanel deploy ema") as error:
        versions.to_run("ema", "live")
    assert error.value.code == "NOT_DEPLOYED"
    versions.deploy("ema", scripts / "ema.py", by="me")
    with pytest.raises(Conflict, match="stratpanel promote ema") as error:
        versions.to_run("ema", "live")
    assert error.value.code == "NOT_PROMOTED"
    promoted = versions.promote("ema", by="anna")
    assert promoted.live
    assert promoted.promoted_by == "anna"
    (scripts / "helper.py").write_text("WORD = 'two'\n")
    second = versions.deploy("ema", scripts / "ema.py", by="me").version
    assert not second.live
    assert printed_by(versions, "paper") == "two"
    assert printed_by(versions, "live") == "one"
    assert [(v.n, v.current, v.live) for v in versions.list("ema")] == [(2, True, False), (1, False, True)]
    versions.promote("ema", by="me")
    assert printed_by(versions, "live") == "two"


def test_a_rollback_takes_live_along_only_to_what_was_promoted(versions: Versions, scripts: Path) -> None:
    for number in (1, 2, 3):
        (scripts / "helper.py").write_text(f"WORD = '{number}'\n")
        versions.deploy("ema", scripts / "ema.py", by="me")
        if number != 2:
            versions.promote("ema", by="me")
    assert versions.rollback("ema", 1, by="me").live
    assert printed_by(versions, "live") == "1"
    back = versions.rollback("ema", 2, by="me")
    assert back.current
    assert not back.live
    assert printed_by(versions, "paper") == "2"
    with pytest.raises(Conflict, match="promote"):  # better refused than on the version one turned away from
        versions.to_run("ema", "live")
    with pytest.raises(NotFound, match="stratpanel versions ema"):
        versions.rollback("ema", 9, by="me")
    assert versions.deploy("ema", scripts / "ema.py", by="me").version.n == 4


DAMAGE = {
    "a changed byte": lambda folder: rewrite(folder / "helper.py", "WORD = 'evil'\n"),
    "a missing file": lambda folder: (folder / "helper.py").unlink(),
    "a link in its place": lambda folder: (
        (folder / "helper.py").unlink(),
        (folder / "helper.py").symlink_to("/etc/passwd"),
    ),
    "a folder in its place": lambda folder: ((folder / "helper.py").unlink(), (folder / "helper.py").mkdir()),
    "a module that shadows": lambda folder: (folder / "json.py").write_text("raise SystemExit\n"),
    "a package that shadows": lambda folder: ((folder / "json").mkdir(), (folder / "json/__init__.py").write_text("")),
    "a manifest that agrees": lambda folder: forge(folder),
    "no manifest": lambda folder: rewrite(folder.with_name(f"{folder.name}.json"), "{"),
}


def rewrite(path: Path, text: str) -> None:
    path.chmod(0o644)
    path.write_text(text)


def forge(folder: Path) -> None:
    """Change a file and its hash in the manifest: the folder's own name still tells."""
    import hashlib

    rewrite(folder / "helper.py", "WORD = 'evil'\n")
    path = folder.with_name(f"{folder.name}.json")
    body = json.loads(path.read_text())
    body["files"]["helper.py"] = hashlib.sha256(b"WORD = 'evil'\n").hexdigest()
    rewrite(path, json.dumps(body))


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_start_refuses_what_is_not_byte_for_byte_what_was_deployed(
    versions: Versions, scripts: Path, kind: str
) -> None:
    folder = versions.deploy("ema", scripts / "ema.py", by="me").version.folder
    DAMAGE[kind](folder)
    with pytest.raises(Conflict) as error:
        versions.to_run("ema", "paper")
    assert error.value.code == "VERSION_DAMAGED"
    assert "stratpanel deploy ema" in error.value.message
    versions.list("ema")
    again = versions.deploy("ema", scripts / "ema.py", by="me")  # the remedy in the message works
    assert again.created
    assert again.version.n == 2
    assert printed_by(versions) == "one"


def test_files_that_a_strategy_leaves_beside_itself_do_not_stop_the_next_start(
    versions: Versions, scripts: Path
) -> None:
    folder = versions.deploy("ema", scripts / "ema.py", by="me").version.folder
    (folder / "state.json").write_text("{}")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "helper.cpython-311.pyc").write_bytes(b"x")
    assert printed_by(versions) == "one"


def test_a_syntax_error_is_refused_with_file_and_line(versions: Versions, scripts: Path) -> None:
    (scripts / "helper.py").write_text("x = 1\n\ndef f(:\n    pass\n")
    with pytest.raises(InvalidValue) as error:
        versions.deploy("ema", scripts / "ema.py", by="me")
    assert error.value.code == "SYNTAX_ERROR"
    assert error.value.message.startswith(
        "cannot deploy ema: strategies/scripts/helper.py has a syntax error on line 3"
    )
    assert versions.list("ema") == []


@pytest.mark.parametrize("source", [b"x = 1\0", b"\xff\xfe\x00", b"(" * 5000, b"# coding: nonsense\nx = 1\n"])
def test_source_that_no_parser_takes_is_refused_not_fatal(versions: Versions, scripts: Path, source: bytes) -> None:
    (scripts / "ema.py").write_bytes(source)
    with pytest.raises(InvalidValue, match="line"):
        versions.deploy("ema", scripts / "ema.py", by="me")


def test_another_interpreter_may_know_newer_syntax(versions: Versions, scripts: Path, tmp_path: Path) -> None:
    (scripts / "ema.py").write_text("this is not our python\n")
    newer = tmp_path / "python9"
    newer.write_text("#!/bin/sh\ncat >/dev/null\nexit 0\n")
    newer.chmod(0o755)
    assert versions.deploy("ema", scripts / "ema.py", by="me", python=str(newer)).created
    with pytest.raises(InvalidValue):
        versions.deploy("ema", scripts / "ema.py", by="me", python=str(tmp_path / "missing"))


def test_a_folder_is_copied_whole_without_caches_and_environments(versions: Versions, tmp_path: Path) -> None:
    folder = tmp_path / "strategies" / "scripts" / "pairs"
    for name in (
        "main.py",
        "lib/a.py",
        "data/prices.csv",
        "__pycache__/x.pyc",
        ".git/config",
        ".ipynb_checkpoints/m.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x = 1\n")
    (folder / "venv").mkdir()
    (folder / "venv" / "pyvenv.cfg").write_text("")
    (folder / "venv" / "big.py").write_text("")
    (folder / "broken_template.py").write_text("{{ jinja }} is not python")
    version = versions.deploy("pairs", folder, by="me").version
    assert sorted(version.files) == ["broken_template.py", "data/prices.csv", "lib/a.py", "main.py"]
    assert version.entry_path == version.folder / "main.py"
    (folder / "main.py").unlink()
    with pytest.raises(NotFound, match=r"main\.py"):
        versions.deploy("pairs", folder, by="me")


def test_a_folder_over_the_limit_is_refused_without_reading_it_all(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "strategies" / "scripts" / "big"
    folder.mkdir()
    (folder / "main.py").write_text("")
    with open(folder / "data.bin", "wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(TooLarge, match="STRATEGY_STATE_DIR"):
        versions.deploy("big", folder, by="me")
    (folder / "data.bin").unlink()
    monkeypatch.setattr(workingcopy, "FOLDER_FILES", 5)
    for number in range(6):
        (folder / f"{number}.txt").write_text("")
    with pytest.raises(TooLarge):
        versions.deploy("big", folder, by="me")
    assert not (versions.root / "big").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "circle", "sibling", "itself", "fifo"])
def test_nothing_is_followed_out_of_the_folder(versions: Versions, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text("KEY = 'x'\n")
    scripts = tmp_path / "strategies" / "scripts"
    folder = scripts / "pairs"
    folder.mkdir()
    (folder / "main.py").write_text("")
    target = folder
    if kind == "file":
        (folder / "secret.py").symlink_to(outside / "secret.py")
    elif kind == "folder":
        (folder / "data").symlink_to(outside)
    elif kind == "circle":
        (folder / "self").symlink_to(folder)
    elif kind == "fifo":
        os.mkfifo(folder / "pipe")
    elif kind == "sibling":
        target = scripts / "ema.py"
        (scripts / "helper.py").unlink()
        (scripts / "helper.py").symlink_to(outside / "secret.py")
    else:
        target = scripts / "own.py"
        target.symlink_to(outside / "secret.py")
    with pytest.raises(InvalidValue) as error:
        versions.deploy("x", target, by="me")
    assert error.value.code == "OUTSIDE_FOLDER"
    assert not (versions.root / "x").exists()


def test_a_link_inside_the_folder_is_copied_as_a_file(versions: Versions, tmp_path: Path) -> None:
    folder = tmp_path / "strategies" / "scripts" / "pairs"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "data.csv").write_text("1,2")
    (folder / "latest.csv").symlink_to("data.csv")
    version = versions.deploy("pairs", folder, by="me").version
    assert not (version.folder / "latest.csv").is_symlink()
    assert (version.folder / "latest.csv").read_text() == "1,2"


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../x", "a\0b", "a\\b"])
def test_an_id_never_leads_out_of_the_versions(versions: Versions, scripts: Path, id: str) -> None:
    for call in (
        lambda: versions.list(id),
        lambda: versions.forget(id),
        lambda: versions.deploy(id, scripts / "ema.py", by="x"),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_manifest_cannot_name_files_elsewhere(versions: Versions, scripts: Path) -> None:
    folder = versions.deploy("ema", scripts / "ema.py", by="me").version.folder
    path = folder.with_name(f"{folder.name}.json")
    body = json.loads(path.read_text())
    body["files"]["../../../../etc/passwd"] = "0" * 64
    rewrite(path, json.dumps(body))
    with pytest.raises(Conflict, match="leaves the folder"):
        versions.current("ema")


def test_a_deploy_that_was_killed_leaves_no_version(versions: Versions, scripts: Path) -> None:
    """Manifest and half a folder are there, the rename is not: the number is used again and nothing is confused."""
    home = versions.root / "ema"
    (home / ".new-1-0123456789ab").mkdir(parents=True)
    (home / ".new-1-0123456789ab" / "ema.py").write_text("half")
    (home / "1-0123456789ab.json").write_text(json.dumps({"half": True}))
    assert versions.list("ema") == []
    assert versions.current("ema") is None
    version = versions.deploy("ema", scripts / "ema.py", by="me").version
    assert version.n == 1
    assert printed_by(versions) == "one"
    assert not list(home.glob(".new-*"))


def test_a_broken_pointer_is_refused_with_the_way_on(versions: Versions, scripts: Path) -> None:
    versions.deploy("ema", scripts / "ema.py", by="me")
    (versions.root / "ema" / "current.json").write_text('{"current": "x"')
    with pytest.raises(Conflict, match="rollback ema N"):
        versions.to_run("ema", "paper")
    (versions.root / "ema" / "current.json").unlink()
    versions.rollback("ema", 1, by="me")
    assert printed_by(versions) == "one"


def test_differences_are_unified_text(versions: Versions, scripts: Path) -> None:
    path = scripts / "ema.py"
    versions.deploy("ema", path, by="me")
    (scripts / "helper.py").write_text("WORD = 'two'\n")
    assert "-WORD = 'one'\n+WORD = 'two'\n" in versions.diff("ema", path=path)
    versions.deploy("ema", path, by="me")
    text = versions.diff("ema", 1, 2)
    assert text.startswith("--- v1/helper.py\n+++ v2/helper.py\n")
    assert versions.diff("ema", 2, 1).replace("+", "~").count("~WORD = 'one'") == 1
    assert versions.diff("ema", path=path) == ""
    path.write_text("print(1)")  # no newline at the end, and the sibling is gone
    text = versions.diff("ema", None, "working", path)
    assert "+++ /dev/null" in text
    assert "\\ No newline at end of file" in text
    with pytest.raises(NotFound):
        versions.diff("ema", 1, 7)


def test_binary_and_large_files_are_only_named(versions: Versions, tmp_path: Path) -> None:
    folder = tmp_path / "strategies" / "scripts" / "pairs"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "model.bin").write_bytes(b"\0" * 100)
    (folder / "prices.csv").write_text("1,2\n" * 30_000)
    versions.deploy("pairs", folder, by="me")
    (folder / "model.bin").write_bytes(b"\0" * 101)
    (folder / "prices.csv").write_text("1,3\n" * 30_000)
    text = versions.diff("pairs", path=folder)
    assert "binary file model.bin differs" in text
    assert "prices.csv differs; over" in text


def test_many_deploys_at_once_make_one_version_each(versions: Versions, scripts: Path) -> None:
    made = []

    def deploy(id: str) -> None:
        made.append(versions.deploy(id, scripts / "ema.py", by="me"))

    threads = [threading.Thread(target=deploy, args=(id,)) for id in ("ema", "ema", "ema", "rsi", "rsi")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done.created for done in made) == 2
    assert {done.version.n for done in made} == {1}


def test_forgetting_removes_read_only_files(versions: Versions, scripts: Path) -> None:
    versions.deploy("ema", scripts / "ema.py", by="me")
    versions.forget("ema")
    assert not (versions.root / "ema").exists()
    assert versions.current("ema") is None
