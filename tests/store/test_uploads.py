"""What arrives from outside lands in the scripts folder whole, or is refused with a sentence; never anywhere else."""

from __future__ import annotations

import io
import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stratpanel.model.errors import Conflict, InvalidValue, NotFound, TooLarge
from stratpanel.supervisor.versions import uploads
from stratpanel.supervisor.versions.uploads import place_copy, place_upload, read_source, unpack, write_source

MB = 1024 * 1024


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    return tmp_path / "strategies" / "scripts"


def archive(*entries: tuple[str, str | bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return buffer.getvalue()


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_a_script_is_placed_under_its_name_or_the_id(scripts: Path) -> None:
    assert place_upload(scripts, None, "ema.py", b"x = 1\n") == scripts / "ema.py"
    assert place_upload(scripts, "fast", "ema.py", b"x = 2\n") == scripts / "fast.py"
    assert place_upload(scripts, None, "ema.py", b"x = 1\n") == scripts / "ema.py"  # the same again is no conflict
    with pytest.raises(Conflict, match="there already"):
        place_upload(scripts, None, "ema.py", b"x = 3\n")
    assert (scripts / "ema.py").read_text() == "x = 1\n"


@pytest.mark.parametrize("wrapped", ["", "pairs-main/"])
def test_an_archive_becomes_a_folder(scripts: Path, wrapped: str) -> None:
    data = archive(
        (f"{wrapped}main.py", "import lib.a\n"),
        (f"{wrapped}lib/a.py", ""),
        ("__MACOSX/._main.py", "junk"),
        (f"{wrapped}.DS_Store", "junk"),
    )
    assert place_upload(scripts, None, "pairs.zip", data) == scripts / "pairs"
    assert everything_below(scripts) == {"pairs/main.py", "pairs/lib/a.py"}


HOSTILE = {
    "climbs": archive(("main.py", ""), ("../../evil.py", "x")),
    "climbs inside": archive(("main.py", ""), ("a/../../evil.py", "x")),
    "absolute": archive(("main.py", ""), ("/tmp/evil.py", "x")),
    "a drive": archive(("main.py", ""), ("C:/evil.py", "x")),
    "backslashes": archive(("main.py", ""), ("..\\evil.py", "x")),
    "NUL": archive(("main.py", "")).replace(b"main.py", b"mai\0.py"),
    "control characters": archive(("main.py", ""), ("a\nb.py", "x")),
    "a long name": archive(("main.py", ""), ("a" * 300 + ".py", "x")),
    "deep": archive(("main.py", ""), ("a/" * 40 + "x.py", "x")),
    "a link": archive(("main.py", "/etc/passwd"), mode=stat.S_IFLNK | 0o777),
    "a device": archive(("main.py", ""), mode=stat.S_IFCHR | 0o666),
    "twice": archive(("main.py", "x=1"), ("MAIN.py", "x=2")),
    "a file that is also a folder": archive(("main.py", "x=1"), ("main.py/inner.py", "x=2")),
    "nothing": archive(),
    "no main.py": archive(("other.py", "")),
    "a syntax error": archive(("main.py", "def f(:")),
    "not a zip": b"PK\x03\x04 this is not one",
    "cut": archive(("main.py", "x = 1\n" * 1000))[:60],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, scripts: Path, kind: str) -> None:
    with pytest.raises(InvalidValue) as error:
        place_upload(scripts, "pairs", "pairs.zip", HOSTILE[kind])
    assert error.value.code in ("BAD_ARCHIVE", "SYNTAX_ERROR")
    assert everything_below(tmp_path) == set()
    assert not Path("/tmp/evil.py").exists()


def test_a_bomb_is_stopped_by_what_comes_out_not_by_what_it_says(tmp_path: Path, scripts: Path) -> None:
    data = archive(("main.py", ""), ("zeros.bin", b"\0" * (300 * MB)))
    assert len(data) < MB
    lying = data.replace((300 * MB).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    tracemalloc.start()
    for bomb in (data, lying):
        with pytest.raises((TooLarge, InvalidValue)):
            place_upload(scripts, "bomb", "bomb.zip", bomb)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MB
    assert everything_below(tmp_path) == set()


def test_an_archive_of_very_many_files_is_refused(scripts: Path) -> None:
    data = archive(("main.py", ""), *((f"f{number}", "") for number in range(uploads.ARCHIVE_FILES)))
    with pytest.raises(TooLarge, match="files"):
        place_upload(scripts, "many", "many.zip", data)


@pytest.mark.parametrize("name", ["big.py", "big.zip"])
def test_a_hundred_megabytes_are_refused_at_once(tmp_path: Path, scripts: Path, name: str) -> None:
    with pytest.raises(TooLarge, match="16 MB"):
        place_upload(scripts, None, name, bytes(100 * MB))
    assert everything_below(tmp_path) == set()


NAMES = [
    "../x.py", "a/b.py", "a\\b.py", "..py", ".hidden.py", "x..y.py", "x .py", "x\0.py", "naïve.py", "策略.py",
    "-rf.py", "a" * 300 + ".py", "x.exe", "x", ".py", "x.py\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_never_chooses_its_folder(tmp_path: Path, scripts: Path, name: str) -> None:
    with pytest.raises(InvalidValue) as error:
        place_upload(scripts, None, name, b"")
    assert error.value.code == "BAD_NAME"
    assert len(error.value.message) < 300
    if name.endswith(".py"):
        with pytest.raises(InvalidValue):
            place_upload(scripts, name[:-3], "fine.py", b"")
    assert everything_below(tmp_path) == set()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400) | st.binary(max_size=60).map(lambda tail: archive(("main.py", "x=1"))[:-30] + tail))
def test_whatever_bytes_arrive_the_answer_is_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        unpack(data, folder / "into")
    except (InvalidValue, TooLarge):  # anything else fails the test
        assert not (folder / "outside").exists()


def test_a_script_from_elsewhere_comes_with_its_siblings(tmp_path: Path, scripts: Path) -> None:
    source = tmp_path / "research"
    source.mkdir()
    (source / "ema.py").write_text("import paper\n")
    (source / "rsi.py").write_text("import paper\n")
    (source / "paper.py").write_text("x = 1\n")
    assert place_copy(scripts, source / "ema.py") == scripts / "ema.py"
    assert place_copy(scripts, source / "rsi.py") == scripts / "rsi.py"  # the shared sibling is the same
    (source / "paper.py").write_text("x = 2\n")
    (source / "more.py").write_text("import paper\n")
    with pytest.raises(Conflict, match=r"paper\.py is there already"):
        place_copy(scripts, source / "more.py")
    assert not (scripts / "more.py").exists()
    with pytest.raises(NotFound):
        place_copy(scripts, source / "nobody.py")


def test_a_folder_from_elsewhere_is_copied(tmp_path: Path, scripts: Path) -> None:
    source = tmp_path / "pairs"
    source.mkdir()
    (source / "main.py").write_text("")
    assert place_copy(scripts, source) == scripts / "pairs"
    with pytest.raises(Conflict):
        place_copy(scripts, source)


def test_source_is_saved_whole_or_not_at_all(scripts: Path) -> None:
    path = write_source(scripts / "ema.py", "x = 'ünï'\n")
    path.chmod(0o640)
    assert read_source(path) == "x = 'ünï'\n"
    with pytest.raises(InvalidValue, match="line 1"):
        write_source(path, "def f(:")
    assert read_source(path) == "x = 'ünï'\n"
    write_source(path, "x = 2\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert everything_below(scripts) == {"ema.py"}
    with pytest.raises(TooLarge):
        write_source(path, "#" * (17 * MB))


def test_source_of_a_folder_is_its_main(scripts: Path) -> None:
    (scripts / "pairs").mkdir(parents=True)
    (scripts / "pairs" / "main.py").write_text("x = 1\n")
    assert read_source(scripts / "pairs") == "x = 1\n"
    write_source(scripts / "pairs", "x = 2\n")
    assert (scripts / "pairs" / "main.py").read_text() == "x = 2\n"


def test_source_that_is_not_there_not_text_or_a_link_is_said(tmp_path: Path, scripts: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        read_source(scripts / "ema.py")
    scripts.mkdir(parents=True)
    (scripts / "ema.py").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidValue, match="UTF-8"):
        read_source(scripts / "ema.py")
    (tmp_path / "outside.py").write_text("")
    (scripts / "link.py").symlink_to(tmp_path / "outside.py")
    with pytest.raises(Conflict, match="symbolic link"):
        write_source(scripts / "link.py", "x = 1\n")
    assert (tmp_path / "outside.py").read_text() == ""
