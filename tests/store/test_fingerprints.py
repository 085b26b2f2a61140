"""A working copy is read again exactly when it may have changed, however the change was made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stratpanel.supervisor.versions import fingerprints
from stratpanel.supervisor.versions.fingerprints import Fingerprint, Fingerprints


class Looked:
    """Fingerprints of one script, and how often it was read for them."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.times_read = 0
        self._prints = Fingerprints()
        real = fingerprints.read_working_copy

        def counted(path: Path, *, verb: str, shown: str) -> object:
            self.times_read += 1
            return real(path, verb=verb, shown=shown)

        monkeypatch.setattr(fingerprints, "FRESH_NS", 0)  # files of these tests are a moment old
        monkeypatch.setattr(fingerprints, "read_working_copy", counted)

    def look(self, *, strict: bool = True) -> Fingerprint:
        return self._prints.of(self.path, verb="cannot look", shown=str(self.path), strict=strict)


@pytest.fixture
def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looked:
    script = tmp_path / "scripts" / "ema.py"
    script.parent.mkdir()
    script.write_text("import prices\nprint('one')\n")
    return Looked(script, monkeypatch)


def test_what_did_not_change_is_read_once(looked: Looked) -> None:
    first = looked.look()
    assert [looked.look() is first, looked.look(strict=False) is first] == [True, True]
    assert looked.times_read == 1
    assert (first.entry, list(first.hashes)) == ("ema.py", ["ema.py"])


def test_an_edit_that_keeps_length_and_time_is_seen(looked: Looked) -> None:
    before, at = looked.look(), looked.path.stat()
    looked.path.write_text("import prices\nprint('two')\n")
    os.utime(looked.path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert looked.path.stat().st_mtime_ns == at.st_mtime_ns
    assert looked.look(strict=False).hashes != before.hashes


def test_a_module_that_appears_beside_it_is_part_of_it_at_the_next_start(looked: Looked) -> None:
    looked.look()
    (looked.path.parent / "prices.py").write_text("TICK = 1\n")
    assert list(looked.look(strict=False).hashes) == ["ema.py"], "the status may say so a moment late"
    assert sorted(looked.look(strict=True).hashes) == ["ema.py", "prices.py"]
    (looked.path.parent / "prices.py").unlink()
    assert list(looked.look(strict=False).hashes) == ["ema.py"]


def test_a_module_that_appears_in_a_folder_it_imports_from_is_part_of_it(looked: Looked) -> None:
    looked.path.write_text("import tools\nimport tools.more.prices\n")
    tools = looked.path.parent / "tools"
    (tools / "more").mkdir(parents=True)
    looked.look()
    (tools / "more" / "prices.py").write_text("TICK = 1\n")
    assert sorted(looked.look().hashes) == ["ema.py", "tools/more/prices.py"]
    (tools / "__init__.py").write_text("")
    assert "tools/__init__.py" in looked.look().hashes


def test_a_file_put_in_its_place_is_seen(looked: Looked) -> None:
    before = looked.look()
    other = looked.path.parent.parent / "other.py"
    other.write_text("import prices\nprint('six')\n")
    os.utime(other, ns=(looked.path.stat().st_atime_ns, looked.path.stat().st_mtime_ns))
    os.replace(other, looked.path)
    assert looked.look(strict=False).hashes != before.hashes


def test_what_changed_a_moment_ago_proves_nothing(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "FRESH_NS", 3_600_000_000_000)
    looked.look()
    looked.look()
    assert looked.times_read == 2


def test_a_folder_is_watched_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pairs"
    (folder / "data").mkdir(parents=True)
    (folder / "main.py").write_text("print('hello')\n")
    looked = Looked(folder, monkeypatch)
    assert list(looked.look().hashes) == ["main.py"]
    (tmp_path / "another.py").write_text("print('beside, and none of its business')\n")
    assert looked.look() is looked.look()
    assert looked.times_read == 1
    (folder / "data" / "symbols.txt").write_text("NIFTY\n")
    assert sorted(looked.look(strict=False).hashes) == ["data/symbols.txt", "main.py"]


def test_it_forgets_rather_than_grow_for_ever(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "MOST", 3)
    first = looked.path
    for number in range(9):
        looked.path = first.with_name(f"s{number}.py")
        looked.path.write_text("print(1)\n")
        looked.look()
    assert len(looked._prints._known) <= 3
