"""Configurations as Hypothesis draws them: valid, normalised, with every kind of field."""

from __future__ import annotations

from hypothesis import strategies as st

names = st.text(st.characters(codec="utf-8", exclude_characters="\0\x7f", min_codepoint=32), max_size=20)
parameters = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
clocks = st.from_regex(r"\A(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|(?:open|close)(?:[+-][1-9][0-9]{0,2}m)?)\Z")
windows = st.fixed_dictionaries(
    {
        "start": clocks,
        "stop": clocks,
        "days": st.lists(st.sampled_from(["mon", "tue", "sun"]), min_size=1, unique=True).map(
            lambda days: [day for day in ("mon", "tue", "sun") if day in days]
        ),
        "on_special": st.booleans(),
    }
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "name": names.filter(bool),
        "file_path": st.from_regex(r"\A[a-z]{1,5}(?:/[a-z]{1,5})?\.py\Z"),
        "mode": st.sampled_from(["paper", "live"]),
        "args": st.lists(names, max_size=3),
        "env": st.dictionaries(st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,5}\Z"), names, max_size=3),
        "params": st.dictionaries(names, parameters, max_size=2),
        "grace_s": st.integers(0, 3600) | st.floats(0, 3600),
        "quiet_after": st.none() | st.integers(1, 1000),
        "before_start": st.none() | st.just("login") | st.lists(names.filter(bool), min_size=1, max_size=3),
        "schedule": st.fixed_dictionaries(
            {"windows": st.lists(windows, min_size=1, max_size=3)},
            optional={"enabled": st.booleans(), "calendar": st.sampled_from([None, "NSE", "24x7"])},
        ),
        "tags": st.lists(names.filter(bool), max_size=3, unique=True),
        "restart": st.fixed_dictionaries({"policy": st.sampled_from(["never", "on-failure", "always"])}),
        "notes": names,
    },
)
