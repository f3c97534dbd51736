"""Whether an instance of a store has the attributes that ``Receive`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orthanc_gcp.configuration import ReceiveRule
from orthanc_gcp.configuration.attributes import attribute, matches

__all__ = ["text_of", "wanted_by"]


def wanted_by(rules: Sequence[ReceiveRule]) -> Callable[[Mapping[str, Any]], bool] | None:
    """Whether one of some rules of an account wants an instance; None where all are wanted.

    What it is asked with are attributes in the DICOM JSON model (PS3.18 annex F).
    """
    if not rules or not all(rule.tags for rule in rules):
        return None
    return lambda attributes: any(_wants(rule, attributes) for rule in rules)


def _wants(rule: ReceiveRule, attributes: Mapping[str, Any]) -> bool:
    return all(
        matches((pattern,), text_of(attributes, _tag(name))) for name, pattern in rule.tags.items()
    )


def _tag(name: str) -> str:
    """``0008,0080`` as the DICOM JSON model has it; the configuration names none that is not."""
    found = attribute(name)
    return "" if found is None else found.number.replace(",", "").upper()


def text_of(attributes: Mapping[str, Any], tag: str) -> str:
    """The values of an attribute as text, separated by backslashes; empty where it has none."""
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return "\\".join(map(_text, values)) if isinstance(values, list) else ""


def _text(value: Any) -> str:
    if isinstance(value, Mapping):  # the name of a person, or an item of a sequence
        alphabetic = value.get("Alphabetic")
        return alphabetic if isinstance(alphabetic, str) else ""
    return "" if value is None or isinstance(value, list) else str(value)
