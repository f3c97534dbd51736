"""Orthanc Explorer 2, as far as its buttons go."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["clicked"]


def clicked(
    button: Mapping[str, Any], resource: str, selected: Sequence[str] = ()
) -> tuple[str, str, Any]:
    """The request of a button as Orthanc Explorer 2 makes it: method, address, and what is sent.

    Its ``replaceResourceTagsInStringPlainText`` and ``replaceResourceTagsInJson`` replace each name
    once, and whatever is unknown by "undefined".
    """

    def replaced(template: str) -> Any:
        if template == "{JsonArrayUUIDs}":
            return list(selected)
        output = template.replace("{UUID}", resource, 1)
        if selected:
            output = output.replace("{CommaSeparatedUUIDs}", ",".join(selected), 1)
        return re.sub("{[^}]+}", "undefined", output)

    payload = button.get("Payload")
    sent = payload and {key: replaced(value) for key, value in payload.items()}
    return button["HttpMethod"], replaced(button["Url"]), sent
