"""`secrets.toml`: what strategies need and nobody else may read, in a paper and a live set.

Read again at every start of a strategy, so a rotated key needs no reload. A file that others can read is refused with
the command that mends it. Every value ever read is masked in whatever leaves the supervisor; no message here holds one.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import stat
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from stratpanel.model.errors import Conflict, Forbidden, InvalidValue, StratpanelError
from stratpanel.supervisor.configuration.toml_text import TomlFile, nearest_name

FILE_NAME = "secrets.toml"
MODES = ("paper", "live")
NOTIFY = "notify"  # names for addresses that [on_event] notify refers to
KEYRING = "keyring:"
KEYRING_SECONDS = 10.0  # a locked key store may wait for a person
MASK = "***"
SHORTEST_MASKED = 4  # masking "1" would garble every number
SAFE_DIGITS = 8  # digits; fewer may be part of a number by chance
SHORTEST_ENCODED = 8  # characters of a piece of base64; fewer occur in words and numbers
_URL_SAFE = str.maketrans("+/", "-_")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

T = TypeVar("T")

log = logging.getLogger("stratpanel.secrets")

TEMPLATE = """\
# Secrets of this workspace; only you may read this file (chmod 600). It is read at every start of a strategy.
# Strategies in paper mode get the first set as environment variables, those in live mode the second.
# "keyring:SERVICE/NAME" takes the value from the system's key store (pip install 'stratpanel[keyring]').

[paper]
# OPENALGO_APIKEY = "..."

[live]
# OPENALGO_APIKEY = "keyring:openalgo/live"

# For one strategy only: a table with its id.
# [live.ema]
# BROKER_TOKEN = "..."

# Addresses that stratpanel.toml refers to by name: [on_event] notify = ["phone"]
[notify]
# phone = "tgram://BOT_TOKEN/CHAT_ID"
"""


@dataclass(frozen=True)
class SecretSets:
    """What the file says, key store references not yet resolved."""

    common: dict[str, dict[str, str]] = field(default_factory=dict)  # mode → name → value
    own: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)  # (mode, strategy id) → name → value
    notify: dict[str, str] = field(default_factory=dict)

    def values(self) -> set[str]:
        """Every value in the file, references left out."""
        tables = [*self.common.values(), *self.own.values(), self.notify]
        return {value for table in tables for value in table.values() if not value.startswith(KEYRING)}


class Secrets:
    """The secrets of one workspace. Reading uses the disk and perhaps the key store: call it in a worker thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._forms: tuple[str, ...] = ()

    def for_run(self, mode: str, id: str) -> dict[str, str]:
        """The variables of a start in this mode: the set's own, then those under the strategy's id.

        Raises Forbidden SECRETS_READABLE (with the chmod), InvalidValue SECRETS_INVALID or TOML_SYNTAX (line and
        field), Conflict KEYRING_FAILED.
        """
        sets = self.read()
        return self._resolve({**sets.common.get(mode, {}), **sets.own.get((mode, id), {})}, mode)

    def notify_address(self, name: str) -> str:
        """The address called `name`; a full address (with ://) is returned as it is, and masked from now on."""
        if "://" in name:
            self.remember(name)
            return name
        addresses = self.read().notify
        if name not in addresses:
            raise InvalidValue(
                f'{FILE_NAME} has no address "{name}" under [notify]{nearest_name(name, addresses)}',
                code="SECRETS_INVALID",
            )
        return self._resolve({name: addresses[name]}, NOTIFY)[name]

    def read(self) -> SecretSets:
        """The file, checked; empty sets when there is none. All its values are masked from now on."""
        try:
            file = TomlFile(self.path, self._private_text())
        except FileNotFoundError:
            return SecretSets()
        sets = _parse(file)
        self.remember(*sets.values())
        file.raise_problems("SECRETS_INVALID")
        return sets

    def _private_text(self) -> str:
        """The text, if nobody else can read it. The open file is looked at, so a swap in between cannot cheat."""
        try:
            with open(self.path, "rb") as opened:
                status = os.fstat(opened.fileno())
                if os.name == "posix":
                    self._require_private(status)
                return opened.read().decode("utf-8-sig")
        except (PermissionError, IsADirectoryError) as error:
            raise Forbidden(
                f"cannot read {self.path}: {error.strerror}; it must be a file of yours (chown, chmod 600)",
                code="SECRETS_READABLE",
            ) from error
        except UnicodeDecodeError:
            raise InvalidValue(f"{self.path} is not UTF-8; save it as UTF-8", code="TOML_SYNTAX") from None

    def _require_private(self, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise Forbidden(
                f"{FILE_NAME} can be read by others (mode {mode:04o}); run: chmod 600 {self.path}",
                code="SECRETS_READABLE",
            )
        if status.st_uid not in (os.geteuid(), 0):
            raise Forbidden(
                f"{FILE_NAME} belongs to another user (uid {status.st_uid}); run: chown {os.geteuid()} {self.path}",
                code="SECRETS_READABLE",
            )

    def _resolve(self, values: Mapping[str, str], table: str) -> dict[str, str]:
        references = {name: value[len(KEYRING) :] for name, value in values.items() if value.startswith(KEYRING)}
        if not references:
            return dict(values)
        found = _from_keyring(references, table)
        self.remember(*found.values())
        return {**values, **found}

    # -- masking: fast, any thread

    def learn(self, *, keyring: bool) -> None:
        """Mask what the file holds, though no strategy was started yet: one that runs may have it from a supervisor
        before this one. A file that is refused is no reason not to hide what is in it; whoever starts is told why.

        With `keyring` the key store is asked for what the file refers to.
        """
        try:
            text = self.path.read_text(encoding="utf-8-sig", errors="replace")
            sets = _parse(TomlFile(self.path, text))
        except (OSError, StratpanelError) as error:  # none, not ours, no TOML: nothing can be started with it either
            log.debug("%s is not read: %s", self.path, error)
            return
        self.remember(*sets.values())
        if not keyring:
            return
        tables = [*sets.common.items(), *((mode, own) for (mode, _), own in sets.own.items()), (NOTIFY, sets.notify)]
        for table, values in tables:
            try:
                self._resolve(values, table)
            except Conflict as error:
                log.warning("%s; until it can be read it is not masked", error.message)

    def remember(self, *values: str) -> None:
        """Mask these from now on, in every form they may leave in; see `forms_of`."""
        forms: set[str] = set()
        for value in values:
            for part in {value, *value.splitlines()}:
                if len(part.strip()) >= SHORTEST_MASKED:
                    forms |= forms_of(part)
        with self._lock:
            self._known |= forms
            # the longest first, so that no secret is left half masked; a new tuple, so that readers need no lock
            self._forms = tuple(sorted(self._known, key=len, reverse=True))

    def mask(self, text: str) -> str:
        """`text` with every known secret replaced by ***. For sentences and log lines, not for whole JSON documents."""
        for form in self._forms:
            if form in text:  # a fast search, while a pattern of all of them is 100 times slower
                text = _without(form, text)
        return text

    def mask_json(self, value: T) -> T:
        """The same for every text inside a JSON value; keys stay."""
        return mask_texts(value, self.mask) if self._forms else value


def mask_texts(value: T, mask: Callable[[str], str]) -> T:
    """A JSON value with `mask` applied to every text in it; keys stay, so that it remains JSON whatever a secret is."""
    masked: object = value
    if isinstance(value, str):
        masked = mask(value)
    elif isinstance(value, Mapping):
        masked = {key: mask_texts(item, mask) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        masked = [mask_texts(item, mask) for item in value]
    return masked  # type: ignore[return-value]  # the same kind of JSON value


def unmasked(value: T, known: object, mask: Callable[[str], str]) -> T:
    """A JSON value that somebody sends back, with every text that is but the mask of what stands in the same place of
    `known` replaced by that: who changes one variable of an environment must not write *** into another."""
    given: object = value
    if isinstance(value, str) and isinstance(known, str) and MASK in value and value == mask(known):
        given = known
    elif isinstance(value, Mapping) and isinstance(known, Mapping):
        given = {key: unmasked(item, known.get(key), mask) for key, item in value.items()}
    elif isinstance(value, list) and isinstance(known, (list, tuple)):
        given = [unmasked(item, old, mask) for item, old in zip_longest(value, known[: len(value)])]
    return given  # type: ignore[return-value]  # the same kind of JSON value


def forms_of(text: str) -> set[str]:
    """How a secret may stand in what leaves: as it is, in JSON, in a traceback, in an address, in base64, also where
    that encodes more around it (`user:password`): then the characters that belong to the secret alone."""
    data = text.encode("utf-8", "surrogateescape")
    quoted = {urllib.parse.quote(data, safe=safe) for safe in ("", "/")} | {urllib.parse.quote_plus(data)}
    quoted |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in quoted}
    encoded = set()
    for before, dropped in enumerate((0, 2, 3)):  # base64 characters that also hold bits of what stands before
        whole = base64.b64encode(bytes(before) + data).decode()
        inner = whole.rstrip("=")[dropped:] if whole.endswith("=") else whole[dropped:]
        encoded.add(inner[:-1] if whole.endswith("=") else inner)
    encoded = {form for form in encoded if len(form) >= SHORTEST_ENCODED} | {base64.b64encode(data).decode()}
    encoded |= {form.translate(_URL_SAFE) for form in encoded}
    return (
        {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]} | quoted | encoded
    )


def _without(form: str, text: str) -> str:
    """A PIN is masked where it stands alone: inside a longer number it is a price."""
    if form.isascii() and form.isdigit() and len(form) < SAFE_DIGITS:
        return re.sub(rf"(?<!\d){form}(?!\d)", MASK, text)
    return text.replace(form, MASK)


def _parse(file: TomlFile) -> SecretSets:
    sets = SecretSets()
    for table_name, table in file.data.items():
        if table_name not in (*MODES, NOTIFY):
            file.complain(table_name, says=f"no set is called that{nearest_name(table_name, (*MODES, NOTIFY))}")
        elif not isinstance(table, dict):
            file.complain(table_name, says=f"must be a table, written as [{table_name}]")
        elif table_name == NOTIFY:
            sets.notify.update(_texts(file, table, table_name, variables=False))
        else:
            plain = {name: value for name, value in table.items() if not isinstance(value, dict)}
            sets.common[table_name] = _texts(file, plain, table_name, variables=True)
            for id, own in table.items():
                if isinstance(own, dict):
                    sets.own[table_name, id] = _texts(file, own, table_name, id, variables=True)
    return sets


def _texts(file: TomlFile, table: Mapping[str, object], *field: str, variables: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in table.items():
        if variables and not _VARIABLE.match(name):
            file.complain(*field, name, says="is not a variable name; use letters, digits and _")
        elif not isinstance(value, str) or "\0" in value:
            file.complain(*field, name, says="must be a text in double quotes")
        elif value.startswith(KEYRING) and not value[len(KEYRING) :].partition("/")[2]:
            file.complain(*field, name, says='a key store reference is written "keyring:SERVICE/NAME"')
        else:
            texts[name] = value
    return texts


_KEYRING_PROGRAM = """
import json, sys
try:
    import keyring
except ImportError:
    print(json.dumps({"error": "the keyring package is not installed; run: pip install 'stratpanel[keyring]'"}))
    sys.exit()
found = {}
for name, place in json.load(sys.stdin).items():
    service, _, user = place.partition("/")
    try:
        value = keyring.get_password(service, user)
    except Exception as error:
        print(json.dumps({"error": "the key store answers: " + type(error).__name__ + ": " + str(error)}))
        sys.exit()
    if value is None:
        print(json.dumps({"error": "the key store has no " + place + "; run: keyring set " + service + " " + user}))
        sys.exit()
    found[name] = value
print(json.dumps({"found": found}))
"""


def _from_keyring(references: Mapping[str, str], table: str) -> dict[str, str]:
    """Ask the key store in a child process: back ends load D-Bus libraries and may hang until a person unlocks them."""

    def failed(why: str) -> Conflict:
        names = ", ".join(f"{table}.{name}" for name in sorted(references))
        return Conflict(f"cannot read {names} of {FILE_NAME}: {why}", code="KEYRING_FAILED")

    try:
        done = subprocess.run(
            [sys.executable, "-c", _KEYRING_PROGRAM],
            input=json.dumps(references),
            capture_output=True,
            text=True,
            timeout=KEYRING_SECONDS,
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise failed(f"the key store did not answer within {KEYRING_SECONDS:g} s; unlock it") from None
    except (OSError, ValueError) as error:
        raise failed(f"asking the key store failed ({error}); try `keyring --list-backends`") from error
    if "error" in answer:
        raise failed(answer["error"])
    return {str(name): str(value) for name, value in answer["found"].items()}
