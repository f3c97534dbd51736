"""What commands print for programs, compared with what docs/schemas says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
SCHEMAS: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in FOLDER.iterdir()}
WHOLE = (0, 1)
"""With other exit codes a command may have been broken off in the middle of its document."""
_BY_OPTIONS = {
    "destinations": {"--hand-over": "destinations-changed", "--close": "destinations-changed"},
    "indexes": dict.fromkeys(
        (
            *("--hand-over", "--close", "--separate", "--accept-ledger"),
            *("--protected", "--unprotect"),
        ),
        "indexes-changed",
    ),
    "pause": {"": "paused"},
    "quarantine": {
        "--show": "quarantine-show",
        "--dismiss": "quarantine-dismiss",
        "--retry": "queued",
    },
    "receipt": {"--verify": "receipt-verify", "--key": "receipt-key"},
    "resume": {"": "paused"},
    "retry": {"": "queued"},
    "send": {"--dry-run": "send-dry-run", "": "queued"},
}
"""Which schema it is by the options of a command, in this order; otherwise the command's own."""


def schema_of(command: str, options: Sequence[str]) -> str:
    """The name of the schema of what a command line prints."""
    chosen = _BY_OPTIONS.get(command, {})
    return next((name for one, name in chosen.items() if not one or one in options), command)


def conforms(words: Sequence[str], printed: str) -> Any:
    """What a command line has printed, which is as its schema says."""
    document = json.loads(printed)
    schema = SCHEMAS[schema_of(words[0], words[1:])]
    jsonschema.Draft202012Validator(schema).validate(document)
    return document
