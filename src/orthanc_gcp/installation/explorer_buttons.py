"""Buttons of this package in Orthanc Explorer 2, as its option ``CustomButtons`` has them.

Orthanc Explorer 2 reads ``OrthancExplorer2.UiOptions.CustomButtons``: a list of buttons for each
level, of studies and series from version 1.8.0 on, of selected studies (``bulk-studies``) from
1.9.2 on (its release notes). It puts ``{UUID}`` and ``{JsonArrayUUIDs}`` into addresses and into
strings of what is sent; in a list it replaces nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from orthanc_gcp.installation.changes import Change
from orthanc_gcp.installation.options import OptionPath, value_of

__all__ = ["BUTTONS", "LEVELS", "PLUGIN", "button_changes", "buttons", "is_ours", "only_ours"]

PLUGIN = "OrthancExplorer2"
"""The name of its library, and of its section."""
BUTTONS: OptionPath = (PLUGIN, "UiOptions", "CustomButtons")
LEVELS = ("study", "series", "bulk-studies")
_SELECTED = "bulk-studies"
_PREFIX = "orthanc-gcp-"
_ROOT = "/ui/"


def buttons(accounts: Collection[str], root: str = _ROOT) -> dict[str, list[dict[str, Any]]]:
    """The buttons of each level, for each account.

    Parameters
    ----------
    root
        The option ``Root`` of Orthanc Explorer 2, below which its page is ``app/``: addresses are
        relative, since a proxy may add a path before.
    """
    to_orthanc = "../" * (len([part for part in root.split("/") if part]) + 1)
    of_each = {level: list[dict[str, Any]]() for level in LEVELS}
    for account in accounts:
        name = quote(account, safe="")
        place = f"{to_orthanc}gcp/accounts/{name}"
        which = "" if len(accounts) == 1 else f" ({account})"
        for level, found in of_each.items():
            one = "{JsonArrayUUIDs}" if level == _SELECTED else "{UUID}"
            named = "{CommaSeparatedUUIDs}" if level == _SELECTED else "{UUID}"
            found += [
                {
                    "Id": f"{_PREFIX}send-{level}-{name}",
                    "Tooltip": f"Send to Google{which}",
                    "Icon": "bi bi-cloud-upload",
                    "HttpMethod": "POST",
                    "Url": f"{place}/send",
                    "Payload": {"Resources": one},
                    "StartMessage": f"Sent to Google{which} as soon as possible: see the receipt",
                },
                {
                    "Id": f"{_PREFIX}receipt-{level}-{name}",
                    "Tooltip": f"Receipt of Google{which}",
                    "Icon": "bi bi-receipt",
                    "HttpMethod": "GET",
                    "Url": f"{to_orthanc}gcp/app/index.html#/receipt/{name}?resource={named}",
                    "Target": "_blank",
                },
                {
                    "Id": f"{_PREFIX}priors-{level}-{name}",
                    "Tooltip": f"Fetch priors from Google{which}",
                    "Icon": "bi bi-clock-history",
                    "HttpMethod": "POST",
                    "Url": f"{place}/prefetch",
                    "Payload": {"Resources": one},
                    "StartMessage": f"Priors are looked for at Google{which}",
                },
            ]
    return of_each


def button_changes(
    options: Mapping[str, Any], accounts: Collection[str], *, is_loaded: bool
) -> Iterator[Change]:
    """The changes by which Orthanc Explorer 2 has these buttons, beside those of the user.

    Parameters
    ----------
    options
        The configuration of Orthanc.
    is_loaded
        Whether Orthanc loads Orthanc Explorer 2, even if it has no section.
    """
    section = options.get(PLUGIN)
    if section is None and is_loaded:
        section = {}
    if not isinstance(section, dict) or section.get("Enable") is False:
        return
    root = section.get("Root", _ROOT)
    wanted = buttons(accounts, root if isinstance(root, str) else _ROOT)
    path: OptionPath = ()
    for name in BUTTONS:
        path += (name,)
        present = value_of(options, path)
        if present is None:
            if accounts:
                yield _whole(path, _nested(BUTTONS[len(path) :], wanted))
            return
        if not isinstance(present, dict):
            return  # Orthanc Explorer 2 could not read it either
    for level in LEVELS:
        if change := _of_level((*BUTTONS, level), value_of(options, (*BUTTONS, level)), wanted):
            yield change


def _of_level(
    path: OptionPath, present: Any, wanted: Mapping[str, list[dict[str, Any]]]
) -> Change | None:
    if present is not None and not isinstance(present, list):
        return None
    found = present or []
    kept = [one for one in found if not is_ours(one)]
    stale = tuple(one for one in found if is_ours(one))
    value = [*kept, *wanted[path[-1]]]
    if value == found:
        return None
    if list(stale) == wanted[path[-1]][: len(stale)] and found == [*kept, *stale]:
        stale = ()  # others are added behind them
    return _whole(path, value, stale)


def _whole(path: OptionPath, value: Any, removed: tuple[Any, ...] = ()) -> Change:
    written = json.dumps(value, indent=2, ensure_ascii=False)
    return Change(path, value, written.replace("\n", "\n" + "  " * len(path)), removed)


def _nested(path: OptionPath, value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def is_ours(button: Any) -> bool:
    """Whether a button is one that an installation has written."""
    identifier = button.get("Id") if isinstance(button, dict) else None
    return isinstance(identifier, str) and identifier.startswith(_PREFIX)


def only_ours(value: Any) -> bool:
    """Whether there is nothing in it but what an installation has written."""
    if isinstance(value, list):
        return all(map(is_ours, value))
    return isinstance(value, dict) and all(map(only_ours, value.values()))
