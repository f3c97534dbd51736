"""``orthanc-gcp receipt --verify`` and ``--key``: what a signature of a receipt shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthanc_gcp.commands.arguments import fail, settings_of
from orthanc_gcp.commands.ledger_access import open_ledger
from orthanc_gcp.commands.printing import say
from orthanc_gcp.redaction import readable

if TYPE_CHECKING:
    from orthanc_gcp.custody.signatures.signature import PublicKey, Verification

__all__ = ["show_key", "verify_file"]


def show_key(config: Path, *, as_json: bool) -> None:
    """Print the public key of the ledger, for a person to note it; ends when there is none."""
    key = _key_of(config)
    if as_json:
        say(json.dumps(key.as_json(), indent=2))
    else:
        say(f"key id        {key.id}\npublic key    {key.text} (Ed25519)")


def verify_file(file: Path, config: Path | None, *, as_json: bool) -> bool:
    """Print what the signature of a file shows, and answer whether it is as it should be.

    Ends the command when the file is no receipt, or the ledger of ``config`` cannot be read.

    Parameters
    ----------
    config
        That of the ledger whose key it has to be; None for any key.
    """
    document, found = _verified(file)
    own = _key_of(config) if config is not None else None
    is_own = None if own is None else found.key == own
    if as_json:
        shown = {
            "Fits": found.fits,
            "KeyId": found.key.id if found.key else None,
            "PublicKey": found.key.text if found.key else None,
            "KeyOfThisLedger": is_own,
            "Unsigned": found.why_unsigned,
        }
        say(json.dumps(shown, indent=2))
    else:
        for line in _lines(file, document, found, own):
            say(line)
    return found.fits and is_own is not False


def _verified(file: Path) -> tuple[dict[str, Any], Verification]:
    from orthanc_gcp.custody.signatures.canonical_json import MOST_BYTES, parse
    from orthanc_gcp.custody.signatures.signature import verify

    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        fail(f"{readable(str(file))}: cannot be read: {reason}")
    try:
        document = parse(content)
        return document, verify(document)
    except ValueError as error:
        fail(f"{readable(str(file))}: no receipt that can be verified: {error}")


def _key_of(config: Path) -> PublicKey:
    with open_ledger(settings_of([config])) as ledger:
        from orthanc_gcp.custody.signatures.signing_key import NoSigningKeyError, public_key

        try:
            return public_key(ledger)
        except NoSigningKeyError as error:
            fail(str(error))


def _lines(
    file: Path, document: dict[str, Any], found: Verification, own: PublicKey | None
) -> Iterator[str]:
    name = readable(str(file))
    if found.key is None:
        yield f"{name}: NOT SIGNED: {readable(found.why_unsigned or 'it does not say why')}"
        return
    if not found.fits:
        yield (
            f"{name}: NOT AS SIGNED: it was changed after it was signed, or was not signed with "
            "the key that it names"
        )
    else:
        yield f"{name}: unchanged since it was signed with the key that it names"
    yield f"study         {_shown(document, 'Study')}"
    yield f"issued        {_shown(document, 'Issued')}, as it says"
    yield f"key id        {found.key.id}\npublic key    {found.key.text} (Ed25519)"
    if own is None:
        yield (
            "whose key that is, the file cannot show: compare it with the one that was noted from "
            "the ledger (orthanc-gcp receipt --key CONFIG)"
        )
    elif found.key == own:
        yield "that is the key of this ledger"
    else:
        yield f"that is NOT THE KEY OF THIS LEDGER, which has {own.id}: {own.text}"


def _shown(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return readable(value) if isinstance(value, str) else "unknown"
