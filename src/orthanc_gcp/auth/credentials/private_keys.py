"""The private key of a service account: PEM (RFC 7468), and how it is mangled on its way here."""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache
from typing import TYPE_CHECKING

from orthanc_gcp.reasons import CredentialReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = ["fault", "parse"]

_ANOTHER_KIND = "it is a key of another kind"
_HEAD = r"-----BEGIN ((?:RSA )?PRIVATE KEY)-----"


@lru_cache(maxsize=1024)
def parse(pem: str) -> RSAPrivateKey:
    """The key.

    Raises
    ------
    TypeError, ValueError
        It is not an RSA key in PEM form without a password.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    # Proving the key's primes takes 25 to 45 ms, a thousand accounts would wait for it. The file is
    # the administrator's own, and Google refuses the signature of a key that is not sound.
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError(_ANOTHER_KIND)
    return key


def fault(text: str) -> tuple[CredentialReason, str]:
    """A reason for programs, and words, for a text that is no key; nothing of it is shown.

    What was mangled is only called so if the key is whole once that is undone.
    """
    for reason, words, mended in _MANGLED:
        if mended(text) != text and _error(mended(text)) is None:
            return reason, words
    if _error(text) == _ANOTHER_KIND:
        return CredentialReason.UNUSABLE_KEY, _ANOTHER_KIND
    return CredentialReason.UNUSABLE_KEY, next(
        (words for part, words in _OTHERS if re.search(part, text)), ""
    )


def _error(text: str) -> str | None:
    """Why a text is no key, in the words of the library; None for a key."""
    try:
        parse(text)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\+r", "", re.sub(r"\\+n", "\n", text))


def _unquoted(text: str) -> str:
    return _unescaped(text).strip().strip("\"'").strip()


def _in_lines(text: str) -> str:
    """The key with its line breaks where they belong (RFC 7468 §2)."""
    found = re.search(_HEAD + r"(.+)-----END \1-----", _unquoted(text), re.DOTALL)
    if found is None:
        return text
    lines = textwrap.wrap("".join(found[2].split()), 64)
    return "\n".join([f"-----BEGIN {found[1]}-----", *lines, f"-----END {found[1]}-----", ""])


def _in_armour(text: str) -> str:
    lines = textwrap.wrap("".join(_unquoted(text).split()), 64)
    return "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])


_MANGLED: tuple[tuple[CredentialReason, str, Callable[[str], str]], ...] = (
    (
        CredentialReason.ESCAPED_KEY,
        "its line breaks were escaped twice (\\\\n where \\n belongs)",
        _unescaped,
    ),
    (
        CredentialReason.BROKEN_LINES,
        "its line breaks are missing or were replaced by something else",
        _in_lines,
    ),
    (
        CredentialReason.BARE_KEY,
        "its first and last line (-----BEGIN …, -----END …) are missing",
        _in_armour,
    ),
)
_OTHERS = (
    (r"BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED", "it is protected by a password"),
    (r"BEGIN (X509 |TRUSTED )?CERTIFICATE", "it is a certificate"),
    (r"BEGIN (RSA )?PUBLIC KEY", "it is a public key"),
    (r"BEGIN (EC|DSA|OPENSSH) PRIVATE KEY", _ANOTHER_KIND),
    (r"BEGIN (RSA )?PRIVATE KEY(?![\s\S]*END (RSA )?PRIVATE KEY)", "its end is missing"),
    (r"BEGIN (RSA )?PRIVATE KEY", "it is damaged"),
    (r"^(?![\s\S]*BEGIN)", "it does not begin with -----BEGIN"),
)
