"""Ids: what passes never leaves its folder, and never meets another that differs only in case."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratpanel.model.errors import InvalidValue
from stratpanel.model.ids import ID_PATTERN, check_id, find_id, id_problem


@pytest.mark.parametrize("id", ["a", "7", "ema", "EMA cross-over_2", "a.b", "x" * 100, "a-", "a_"])
def test_an_ordinary_name_is_an_id(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "empty"),
        ("x" * 101, "101 characters"),
        ("a..b", "two dots"),
        ("a.", "ends with"),
        ("a ", "ends with"),
        (".a", "starting with a letter"),
        ("-a", "starting with a letter"),
        ("a/b", "not an id"),
        ("a\\b", "not an id"),
        ("a\nb", "not an id"),
        ("a\n", "not an id"),
        ("a\0", "not an id"),
        ("émà", "not an id"),
        ("a~b", "not an id"),
        (5, "not text"),
        (None, "not text"),
        (True, "not text"),
    ],
)
def test_what_is_no_id_is_refused_with_the_reason(raw: object, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_id(raw)
    assert said in caught.value.message
    assert caught.value.code == "BAD_ID"
    assert "id" in caught.value.fields


@given(st.one_of(st.text(max_size=120), st.from_regex(r"[A-Za-z0-9 ._-]{1,102}", fullmatch=True)))
def test_the_rule_the_pattern_and_the_file_system_agree(raw: str) -> None:
    allowed = id_problem(raw) is None
    assert allowed == bool(re.match(ID_PATTERN, raw) and not raw.endswith("\n"))
    if allowed:
        assert os.path.normpath(os.path.join("/workspace/log", f"{raw}.log")) == f"/workspace/log/{raw}.log"


def test_ids_are_unique_without_regard_to_case() -> None:
    assert find_id("EMA", ["rsi", "ema"]) == "ema"
    assert find_id("em", ["ema"]) is None
