"""Which instances go where: the rules of ``GoogleCloudPlatform.Send``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.archive import Description
from orthanc_gcp.custody.ledger import Arrival
from orthanc_gcp.custody.tables import Urgency

__all__ = ["Rules"]

Tags = Callable[[str], Mapping[str, str]]


class Rules:
    """Decides for each instance; several rules may send it to several accounts.

    Parameters
    ----------
    rules
        In the order of the configuration: for each account the first that matches counts.
    all_tags
        Orthanc's identifier -> all attributes of an instance, asked only when a rule names one
        that Orthanc does not index.
    """

    def __init__(self, rules: Sequence[SendRule], all_tags: Tags) -> None:
        self._rules, self._all_tags = rules, all_tags

    def __bool__(self) -> bool:
        return bool(self._rules)

    def matching(self, description: Description) -> dict[str, SendRule]:
        """The accounts that an instance goes to, each with the rule that says so."""
        found: dict[str, SendRule] = {}
        for rule in self._rules:
            if rule.to not in found and self._matches(rule, description):
                found[rule.to] = rule
        return found

    def arrivals(
        self, source: str, description: Description, change: int, urgency: Urgency
    ) -> Iterator[Arrival]:
        """The rows that an instance makes in the ledger."""
        for account, rule in self.matching(description).items():
            # What is stable already, as at a backfill, is not held.
            held_for = description.parents.get(rule.level) if urgency == Urgency.LIVE else None
            yield description.arrival(source, account, change, urgency, held_for)

    def _matches(self, rule: SendRule, description: Description) -> bool:
        return (
            _any(rule.modalities, description.tags.get("Modality", ""))
            and _any(rule.called_aet, description.origin.get("CalledAET", ""))
            and _any(rule.remote_aet, description.origin.get("RemoteAET", ""))
            and self._has_tags(rule, description)
        )

    def _has_tags(self, rule: SendRule, description: Description) -> bool:
        tags = description.tags
        if any(name not in tags for name in rule.tags):
            tags = self._all_tags(description.resource)
        return all(_any((pattern,), tags.get(name, "")) for name, pattern in rule.tags.items())


def _any(patterns: Sequence[str], value: str) -> bool:
    """Whether a value matches one of some patterns with ``*`` and ``?``; no pattern matches all."""
    return not patterns or any(fnmatchcase(value.strip(), pattern) for pattern in patterns)
