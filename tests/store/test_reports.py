"""Reports of strategies are read as columns and rows, whatever is in the file."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stratpanel.supervisor.live import reports


def write(path: Path, *entries: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_metrics_become_columns_of_equal_length(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl",
        {"kind": "metric", "t": 1.0, "values": {"pnl": 5}},
        {"kind": "signal", "t": 2.0, "side": "BUY", "fields": {"price": 2.5}},
        {"kind": "metric", "t": 3.0, "values": {"pnl": 6.5, "position": 2}},
        {"kind": "note", "t": 4.0, "text": "<b>"},
        {"kind": "heartbeat", "t": 5.0, "within": 10},
    )
    found = reports.read(path)
    assert found["t"] == [1.0, 3.0]
    assert found["metrics"] == {"pnl": [5.0, 6.5], "position": [None, 2.0]}
    assert found["signals"] == [{"t": 2.0, "side": "BUY", "fields": {"price": 2.5}}]
    assert found["notes"] == [{"t": 4.0, "text": "<b>"}]
    assert found["heartbeat"] == {"t": 5.0, "within": 10}
    assert found["cut"] is False
    assert reports.read(path, since=2.0)["t"] == [3.0]
    limited = reports.read(path, limit=1)
    assert (limited["t"], limited["cut"]) == ([3.0], True)


def test_a_missing_file_is_no_reports(tmp_path: Path) -> None:
    assert reports.read(tmp_path / "none.jsonl") == dict(reports.NONE)


def test_what_is_no_report_is_skipped_and_a_torn_last_line_waits(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"kind": "metric", "t": 1, "values": {"a": 1}})
    with path.open("ab") as file:
        file.write(b"[" * 50_000 + b"\n")
        file.write(b'{"kind": "note", "t": 5, "text": ' + b"[" * 500 + b"]" * 500 + b"}\n")
        file.write(b'\xff\xfe\n[]\n{"kind": "metric", "t": NaN, "values": {"a": 2}}\n{"kind": "metric", "t": 9, "val')
    found = reports.read(path)
    assert found["t"] == [1]
    assert found["notes"] == []


@given(st.binary(max_size=2000))
def test_any_bytes_are_survived(tmp_path_factory: object, data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(data)
        file.flush()
        found = reports.read(Path(file.name))
    assert all(len(column) == len(found["t"]) for column in found["metrics"].values())


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    for n in range(reports.KEEP_FILES + 3):
        write(reports.file_of(tmp_path, "ema", f"ema~{n:04}"), {"kind": "note", "t": 1, "text": "x"})
    reports.prune(tmp_path, "ema")
    kept = reports.runs_with_reports(tmp_path, "ema")
    assert len(kept) == reports.KEEP_FILES
    assert kept[0] == f"ema~{reports.KEEP_FILES + 2:04}"
    assert kept[-1] == "ema~0003"


def test_following_reads_only_what_came_since(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", {"kind": "metric", "t": 1.0, "values": {"a": 1}})
    first = reports.read(path)
    assert first["next"] == path.stat().st_size
    with path.open("a") as file:
        file.write('{"kind": "metric", "t": 2.0, "values": {"a": 2}}\n{"kind": "no')
    second = reports.read(path, after=first["next"])
    assert second["t"] == [2.0]
    with path.open("a") as file:
        file.write('te", "t": 3.0, "text": "x"}\n')
    third = reports.read(path, after=second["next"])
    assert (third["t"], third["notes"]) == ([], [{"t": 3.0, "text": "x"}])
    assert reports.read(path, after=third["next"])["next"] == third["next"]
    write(path, {"kind": "metric", "t": 9.0, "values": {"a": 9}})
    assert reports.read(path, after=third["next"])["t"] == [9.0], "a shorter file is another one"
