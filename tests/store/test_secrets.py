"""Secrets: private or refused, fresh at every start, the right set for the mode, masked wherever they might leave."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stratpanel.model.errors import Conflict, Forbidden, InvalidValue
from stratpanel.supervisor.configuration import secrets as room
from stratpanel.supervisor.configuration.secrets import Secrets, unmasked

TEXT = """
[paper]
KEY = "paper-key"
[live]
KEY = "live-key"
PIN = "12"
[live."ema fast"]
KEY = "own-live-key"
EXTRA = "extra-value"
[notify]
phone = "tgram://bottoken/chat"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "secrets.toml"
    file.write_text(TEXT)
    file.chmod(0o600)
    return file


def test_each_mode_gets_its_set_and_a_strategy_its_own(path: Path) -> None:
    secrets = Secrets(path)
    assert secrets.for_run("paper", "ema fast") == {"KEY": "paper-key"}
    assert secrets.for_run("live", "rsi") == {"KEY": "live-key", "PIN": "12"}
    assert secrets.for_run("live", "ema fast") == {"KEY": "own-live-key", "PIN": "12", "EXTRA": "extra-value"}
    assert secrets.for_run("other", "rsi") == {}


def test_no_file_means_no_secrets(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets.toml")
    assert secrets.for_run("live", "ema") == {}
    assert secrets.mask("text") == "text"


def test_the_file_is_read_at_every_start(path: Path) -> None:
    secrets = Secrets(path)
    secrets.for_run("paper", "ema")
    path.write_text('[paper]\nKEY = "rotated-key"\n')
    assert secrets.for_run("paper", "ema") == {"KEY": "rotated-key"}
    assert secrets.mask("paper-key rotated-key") == "*** ***"  # the old one may still be in a log


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_what_others_can_read_is_refused_with_the_command(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(Forbidden) as error:
        Secrets(path).for_run("live", "ema")
    assert error.value.code == "SECRETS_READABLE"
    assert f"chmod 600 {path}" in error.value.message
    assert f"{mode:04o}" in error.value.message
    path.chmod(0o400)
    assert Secrets(path).for_run("paper", "ema")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(path: Path) -> None:
    os.chown(path, 12345, -1)
    with pytest.raises(Forbidden, match="chown"):
        Secrets(path).for_run("live", "ema")


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        ('[papr]\nKEY = "hunter2x"', "papr", 'did you mean "paper"?'),
        ("[live]\nKEY = 4711", "live.KEY", "text in double quotes"),
        ('[live]\n"A-B" = "hunter2x"', "live.A-B", "variable name"),
        ('KEY = "hunter2x"', "KEY", "no set is called that"),
        ('live = "hunter2x"', "live", "written as [live]"),
        ('[live.ema]\nKEY = ["hunter2x"]', "live.ema.KEY", "text in double quotes"),
        ('[live]\nKEY = "keyring:nouser"', "live.KEY", "keyring:SERVICE/NAME"),
    ],
)
def test_a_mistake_names_its_place_and_never_a_value(path: Path, text: str, field: str, says: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidValue) as error:
        Secrets(path).for_run("live", "ema")
    assert f"secrets.toml line {1 if field in ('papr', 'KEY', 'live') else 2}, {field}: " in error.value.message
    assert says in error.value.fields[field]
    assert "hunter2x" not in error.value.message
    assert "4711" not in error.value.message


def test_broken_toml_shows_no_value(path: Path) -> None:
    path.write_text('[live]\nKEY = "hunter2x\n')
    with pytest.raises(InvalidValue) as error:
        Secrets(path).for_run("live", "ema")
    assert error.value.code == "TOML_SYNTAX"
    assert "hunter2x" not in str(error.value.to_json())


def test_every_value_ever_read_is_masked_everywhere(path: Path) -> None:
    secrets = Secrets(path)
    secrets.for_run("paper", "ema")
    body = {"env": {"KEY": "live-key"}, "lines": ["got own-live-key!", 5, None], "plain": "text"}
    assert secrets.mask_json(body) == {"env": {"KEY": "***"}, "lines": ["got ***!", 5, None], "plain": "text"}
    assert secrets.mask("tgram://bottoken/chat") == "***"
    assert secrets.mask("12 trades") == "12 trades"  # too short to be masked without garbling everything
    secrets.remember("the-token")
    assert secrets.mask("Bearer the-token") == "Bearer ***"


@given(
    st.text(min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4 and not text.isdigit()),
    st.text(max_size=20),
)
def test_a_secret_is_masked_in_every_form_it_may_leave_in(value: str, around: str) -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember(value)
    for form in (value, json.dumps({"a": value}), json.dumps({"a": value}, ensure_ascii=False)):
        assert value not in secrets.mask(around + form + around).replace("***", "")


@given(st.text(min_size=8, max_size=40).filter(lambda text: len(text.strip()) >= 8 and not text.isdigit()))
def test_a_secret_is_masked_when_it_was_encoded(value: str) -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember(value)
    data = value.encode("utf-8", "surrogateescape")
    encoded = [quote(data, safe=""), quote(data), quote_plus(data), repr(value)[1:-1]]
    encoded += [encode(data).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    for form in encoded:
        assert form not in secrets.mask(f"<{form}>")


@pytest.mark.parametrize("user", ["u", "me", "bob", "alice", ""])
@pytest.mark.parametrize("after", ["", "x", ":8"])
def test_a_secret_inside_a_longer_base64_is_masked(user: str, after: str) -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember("s3cret/token+of=mine")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        header = encode(f"{user}:s3cret/token+of=mine{after}".encode()).decode()
        masked = secrets.mask(f"Authorization: Basic {header}")
        assert "***" in masked
        left = masked.removeprefix("Authorization: Basic ").replace("***", "")
        assert len(left) <= len(header) - len("s3cret/token+of=mine") * 4 // 3 + 3


def test_escapes_are_masked_in_either_case() -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember("pass/word")
    assert secrets.mask("?p=pass%2Fword&q=pass%2fword") == "?p=***&q=***"


def test_what_a_refused_file_holds_is_masked_all_the_same(path: Path) -> None:
    path.chmod(0o644)
    secrets = Secrets(path)
    with pytest.raises(Forbidden):
        secrets.read()
    secrets.learn(keyring=False)
    assert secrets.mask("got live-key") == "got ***"
    path.write_text("[live\nbroken")
    secrets.learn(keyring=True)  # what cannot be read cannot be hidden, and harms nobody
    path.unlink()
    secrets.learn(keyring=True)


def test_a_running_strategys_secrets_of_the_key_store_are_learned_again(path: Path, key_store: None) -> None:
    path.write_text('[live]\nA = "keyring:broker/live"\n[paper]\nB = "keyring:broker/none"\nC = "plain-one"\n')
    secrets = Secrets(path)
    secrets.learn(keyring=True)
    assert secrets.mask("from-the-store and plain-one") == "*** and ***"


def test_what_is_sent_back_masked_stays_what_it_was() -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember("hunter2hunter2")
    known = {"env": {"A": "hunter2hunter2", "B": "plain"}, "args": ["--key", "k=hunter2hunter2"], "n": 5}
    shown = secrets.mask_json(known)
    assert "hunter2" not in json.dumps(shown)
    assert unmasked(shown, known, secrets.mask) == known
    changed = {"env": {**shown["env"], "B": "***", "C": "new"}, "args": [*shown["args"], "-v"], "more": None}
    assert unmasked(changed, known, secrets.mask) == {
        "env": {"A": "hunter2hunter2", "B": "***", "C": "new"},
        "args": ["--key", "k=hunter2hunter2", "-v"],
        "more": None,
    }


def test_a_longer_secret_is_not_left_half_masked() -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember("abcd", "abcdefgh")
    assert secrets.mask("abcdefgh abcd") == "*** ***"


def test_lines_of_a_key_are_masked_one_by_one() -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember("-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----")
    assert secrets.mask("log: MIIEpAIBAAKCAQEA") == "log: ***"


FAKE_KEYRING = """
import keyring.backend
class Keyring(keyring.backend.KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        if service == "locked":
            import time
            time.sleep(60)
        return {"broker/live": "from-the-store"}.get(f"{service}/{username}")
    def set_password(self, service, username, password): ...
    def delete_password(self, service, username): ...
"""


@pytest.fixture
def key_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_store.py").write_text(FAKE_KEYRING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "fake_store.Keyring")


def test_references_are_taken_from_the_key_store_and_masked(path: Path, key_store: None) -> None:
    path.write_text('[live]\nKEY = "keyring:broker/live"\nOTHER = "plain-value"\n')
    secrets = Secrets(path)
    assert secrets.for_run("live", "ema") == {"KEY": "from-the-store", "OTHER": "plain-value"}
    assert secrets.mask("from-the-store") == "***"


def test_what_the_key_store_does_not_have_is_said_with_the_command(path: Path, key_store: None) -> None:
    path.write_text('[live]\nKEY = "keyring:broker/nobody"\n')
    with pytest.raises(Conflict, match="keyring set broker nobody") as error:
        Secrets(path).for_run("live", "ema")
    assert error.value.code == "KEYRING_FAILED"


def test_a_locked_key_store_does_not_hang_a_start(path: Path, key_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEYRING_SECONDS", 2.0)
    path.write_text('[live]\nKEY = "keyring:locked/x"\n')
    with pytest.raises(Conflict, match="unlock it"):
        Secrets(path).for_run("live", "ema")


def test_a_missing_keyring_package_is_said(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keyring.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    path.write_text('[live]\nKEY = "keyring:broker/live"\n')
    with pytest.raises(Conflict, match=r"pip install 'stratpanel\[keyring\]'"):
        Secrets(path).for_run("live", "ema")


def test_addresses_are_found_by_name_and_masked(path: Path) -> None:
    secrets = Secrets(path)
    assert secrets.notify_address("phone") == "tgram://bottoken/chat"
    assert secrets.notify_address("mailto://me:pass@host") == "mailto://me:pass@host"
    assert secrets.mask("mailto://me:pass@host") == "***"
    with pytest.raises(InvalidValue, match='did you mean "phone"'):
        secrets.notify_address("phon")


def test_the_template_is_valid(path: Path) -> None:
    path.write_text(room.TEMPLATE)
    assert Secrets(path).for_run("live", "ema") == {}


def test_a_pin_is_masked_alone_and_not_inside_a_price() -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember("1234")
    assert (
        secrets.mask("pin=1234; bought at 12345.50, order 991234, 1234")
        == "pin=***; bought at 12345.50, order 991234, ***"
    )


def test_text_without_secrets_is_handed_back_as_it_is() -> None:
    secrets = Secrets(Path("/nowhere"))
    secrets.remember(*(f"secret-number-{n:03}" for n in range(50)))
    line = "2026-11-22 09:15:00 bought 100 NIFTY at 24000.05"
    assert secrets.mask(line) is line
