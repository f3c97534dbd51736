"""The types of option values: what a value must be, and how to say so.

Plain dataclasses and these few types stand where one would expect pydantic: importing it takes
over 100 ms, more than everything else that the plugin does before the first server is published.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from orthanc_gcp.configuration.addresses import (
    base_url_expected,
    database_expected,
    normalized,
    proxy_expected,
    url_expected,
    webhook_expected,
)
from orthanc_gcp.configuration.attributes import pattern_expected, tags_expected
from orthanc_gcp.configuration.modalities import (
    called_expected,
    is_aet,
    modalities_expected,
    modalities_of,
)
from orthanc_gcp.configuration.problems import Effect, Problem, kind_of, place_of, shown
from orthanc_gcp.configuration.timetable import is_window
from orthanc_gcp.redaction import host_of

__all__ = [
    "ADC",
    "AET",
    "AETS",
    "AMOUNT",
    "ASSOCIATIONS",
    "BASE_URL",
    "CALLED",
    "CONFLICT",
    "CONNECTIONS",
    "COUNT",
    "DATABASE",
    "DAYS",
    "DELEGATES",
    "EMAIL",
    "ENCRYPTION",
    "FILE",
    "FLAG",
    "HOST",
    "HOUR",
    "INLINE",
    "KNOWN_MODALITIES",
    "LEVEL",
    "MAILBOX",
    "MAILBOXES",
    "MAIL_PORT",
    "MODALITIES",
    "OBJECT",
    "PDU_LENGTH",
    "PERCENT",
    "PORT",
    "PRIORS",
    "PROXY",
    "SCHEDULE",
    "SCOPES",
    "SECONDS",
    "STORE_PART",
    "STRINGS",
    "SUBSCRIPTION",
    "TAGS",
    "TEXT",
    "TRIGGERS",
    "URL",
    "VERIFY",
    "WEBHOOK",
    "WEBHOOK_SECRET",
    "WORD",
    "OptionType",
    "effect_of",
    "option",
    "option_names",
    "read_options",
]


_SUBSCRIPTION = re.compile(
    r"(projects/(?!\.+/)[A-Za-z0-9_.:-]{1,256}/subscriptions/)?(?!goog)[A-Za-z][\w.~+%-]{2,254}",
    re.ASCII,
)
"""Pub/Sub, "Guidelines to name a topic, subscription, schema, or snapshot"."""


@dataclass(frozen=True)
class OptionType:
    """What the value of an option must be.

    Parameters
    ----------
    expected
        A value -> what was expected in its place; empty if it is right.
    show
        A wrong value -> what may be said of it. Only that of an option that is known to hold no
        secret is shown, of any other its JSON type.
    convert
        A right value -> what stands in the model for it.
    """

    expected: Callable[[Any], str]
    show: Callable[[Any], str] = kind_of
    convert: Callable[[Any], Any] = lambda value: tuple(value) if isinstance(value, list) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_store_part(value: Any) -> bool:
    # "." and ".." would lead elsewhere in a path.
    return isinstance(value, str) and bool(re.fullmatch(r"(?!\.+$)[A-Za-z0-9_.:-]{1,256}", value))


def _is_subscription(value: Any) -> bool:
    return isinstance(value, str) and bool(_SUBSCRIPTION.fullmatch(value))


def _is_seconds(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 86400


def _is_file_name(value: Any) -> bool:
    """Whether it may be a file's name, and not its content."""
    return _is_word(value) and len(value) <= 1024 and value.isprintable() and value[0] != "{"


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_word, value))


def _is_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_email(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^@\s/:]+@[^@\s/:]+", value) is not None


def _is_emails(value: Any) -> bool:
    return _is_words(value) and all(map(_is_email, value))


def _is_host(value: Any) -> bool:
    """A name of a host, or its address in IPv4 or IPv6."""
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", value))


def _is_mailbox(value: Any) -> bool:
    """An address as every mail server takes it (RFC 5321 section 4.1.2, without quotes)."""
    right = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,189}"
    return isinstance(value, str) and re.fullmatch(right, value) is not None


def _is_mailboxes(value: Any) -> bool:
    return _is_words(value) and len(value) <= _MOST_MAILBOXES and all(map(_is_mailbox, value))


def _is_schedule(value: Any) -> bool:
    return _is_words(value) and all(map(is_window, value))


def _type(
    expected: str, accepts: Callable[[Any], bool], show: Callable[[Any], str] = kind_of
) -> OptionType:
    return OptionType(lambda value: "" if accepts(value) else expected, show)


def _one_of(*values: str) -> OptionType:
    return _type(" or ".join(f'"{value}"' for value in values), lambda one: one in values, shown)


def _some_of(*values: str) -> OptionType:
    named = ", ".join(f'"{value}"' for value in values)

    def are_known(given: Any) -> bool:
        return isinstance(given, list) and bool(given) and all(one in values for one in given)

    return _type(f"a list of {named}, at least one", are_known)


def _shown_host(value: Any) -> str:
    """An address by its host: what else it holds may be a secret."""
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        return f"an address at {host_of(value)}"
    return kind_of(value)


def _whole(least: int, most: int, expected: str) -> OptionType:
    return _type(expected, lambda value: type(value) is int and least <= value <= most, shown)


def _webhook_key(value: Any) -> bytes:
    """The key in a secret as Standard Webhooks writes it; nothing for what is no such secret."""
    prefix, _, encoded = value.partition("_") if isinstance(value, str) else ("", "", "")
    try:
        key = base64.b64decode(encoded, validate=True) if prefix == "whsec" else b""
    except ValueError:
        return b""
    return key if 24 <= len(key) <= 64 else b""


def _patterns(representation: str) -> OptionType:
    """Patterns for values of a value representation, such as ``AE`` (DICOM PS3.5 §6.2)."""
    return OptionType(
        lambda value: pattern_expected(representation, value) if _is_words(value) else _PATTERNS
    )


_MOST_MAILBOXES = 50
_PATTERNS = "a list of strings, at least one and none of them empty"

ADC = _type('"ApplicationDefault"', lambda value: value == "ApplicationDefault")
AET = _type("an AE title of 16 printable ASCII characters at most", is_aet, shown)
AETS = _patterns("AE")
AMOUNT = _whole(1, 10**15, "a whole number, at least 1")
ASSOCIATIONS = _whole(1, 500, "a whole number from 1 to 500")
BASE_URL = OptionType(base_url_expected, _shown_host, normalized)
CALLED = OptionType(called_expected, convert=dict)
CONFLICT = _one_of("Keep", "Replace")
COUNT = _whole(0, 10**15, "a whole number, at least 0")
CONNECTIONS = _whole(1, 64, "a whole number from 1 to 64")
DATABASE = OptionType(database_expected)
DAYS = _whole(1, 10**6, "a whole number of days, at least 1")
DELEGATES = _type("a list of e-mail addresses of service accounts", _is_emails)
EMAIL = _type("the e-mail address of a service account", _is_email, shown)
ENCRYPTION = _one_of("StartTls", "Tls", "None")
FILE = _type("the name of a file", _is_file_name)
FLAG = _type("true or false", lambda value: isinstance(value, bool), shown)
HOST = _type("the name of a host, or its address", _is_host, shown)
HOUR = _whole(0, 23, "a whole number of hours from 0 to 23")
INLINE = _type("a key file's content", lambda value: _is_word(value) or isinstance(value, dict))
KNOWN_MODALITIES = OptionType(modalities_expected, convert=modalities_of)
LEVEL = _one_of("Instance", "Series", "Study")
MAILBOX = _type("an e-mail address in ASCII", _is_mailbox)
MAILBOXES = _type("a list of e-mail addresses in ASCII, from 1 to 50", _is_mailboxes)
MAIL_PORT = _whole(1, 65535, "a whole number from 1 to 65535")
MODALITIES = _patterns("CS")
OBJECT = _type("an object", lambda value: isinstance(value, dict))
PDU_LENGTH = _whole(4096, 131072, "a whole number from 4096 to 131072")
PERCENT = _whole(1, 100, "a whole number of per cent, from 1 to 100")
PORT = _whole(0, 65535, "a whole number from 0 to 65535")
PRIORS = _whole(1, 100, "a whole number from 1 to 100")
PROXY = OptionType(proxy_expected)
SCHEDULE = _type('a list of windows such as "20:00-06:00" or "Sat,Sun 00:00-24:00"', _is_schedule)
SCOPES = _type("a list of strings, at least one", _is_words)
SECONDS = _type("a whole number of seconds, from 0 to 86400", _is_seconds, shown)
STORE_PART = _type("a string of letters, digits, '-', '_', '.' or ':'", _is_store_part, shown)
SUBSCRIPTION = _type(
    "the name of a subscription, or projects/PROJECT/subscriptions/NAME", _is_subscription, shown
)
STRINGS = _type("a list of strings", _is_strings)
TAGS = OptionType(tags_expected)
TEXT = _type("a string", _is_text)
TRIGGERS = _some_of("Instance", "Query", "Worklist")
URL = OptionType(url_expected)
VERIFY = _one_of("Search", "Sample", "Bytes")
WEBHOOK = OptionType(webhook_expected)
WEBHOOK_SECRET = OptionType(
    lambda value: "" if _webhook_key(value) else "whsec_ and 24 to 64 bytes in Base64",
    convert=_webhook_key,
)
WORD = _type("a string that is not empty", _is_word)


def option(
    option_type: OptionType,
    default: Any = MISSING,
    *,
    name: str = "",
    secret: bool = False,
    wrong: Effect = Effect.NO_ACCOUNT,
) -> Any:
    """A dataclass field that is read from an option of the configuration.

    Parameters
    ----------
    default
        Its value when it is not given; ``dict`` for an empty object; none makes it mandatory.
    name
        How the option is written, where it is not the field's name in PascalCase.
    secret
        Keeps the value out of ``repr()``.
    wrong
        What follows from a wrong value, where no account, rule or backfill is left out for it.
        Nothing falls back to a default where data go, or who may see them, is at stake.
    """
    metadata = {"type": option_type, "name": name, "wrong": wrong}
    if default is dict:
        return field(default_factory=dict, kw_only=True, repr=not secret, metadata=metadata)
    return field(default=default, kw_only=True, repr=not secret, metadata=metadata)


def option_names(model: type[Any]) -> list[str]:
    """The options of a model as they are written in the file."""
    return [_written(entry) for entry in fields(model) if "type" in entry.metadata]


def effect_of(model: type[Any], written: str) -> Effect:
    """What follows when an option of a model is wrong."""
    return next(
        (entry.metadata["wrong"] for entry in fields(model) if _written(entry) == written),
        Effect.NONE,
    )


def read_options(
    model: type[Any], options: Mapping[str, Any], path: str, problems: list[Problem]
) -> dict[str, Any]:
    """The values that are right, by field; a problem for each that is wrong or missing."""
    values = {}
    for entry in fields(model):
        option_type = entry.metadata.get("type")
        if option_type is None:
            continue
        written = _written(entry)
        where = place_of(path, written)
        required = entry.default is MISSING and entry.default_factory is MISSING
        if written in options:
            value = options[written]
            expected = option_type.expected(value)
            if expected:
                found = option_type.show(value)
                problems.append(Problem(where, f"found {found}, expected {expected}"))
            else:
                values[entry.name] = option_type.convert(value)
        elif required:
            problems.append(Problem(where, f"missing, expected {option_type.expected(None)}"))
    return values


def _written(entry: Field[Any]) -> str:
    name: str = entry.metadata.get("name") or "".join(
        word.capitalize() for word in entry.name.split("_")
    )
    return name
