"""Tells what the rules would send where; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.orthanc.resources import OrthancSource

__all__ = ["DryRun", "conditions", "forecast"]

MOST_EXAMPLES = 3
_PORTION = 1000


@dataclass
class DryRun:
    """What one rule would send; ``rule`` is None for what none of them wants."""

    rule: SendRule | None
    instances: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)
    """Some Study Instance UIDs."""
    missed: Counter[str] = field(default_factory=Counter)
    """Of what none of the rules wants: how much this rule's conditions have kept out, by the
    first that was not met. No value of an attribute is in it."""

    def add(self, study: str, size: int) -> None:
        """Count an instance."""
        self.instances += 1
        self.bytes += size
        if study not in self.examples and len(self.examples) < MOST_EXAMPLES:
            self.examples.append(study)


def forecast(
    archive: OrthancSource, rules: Sequence[SendRule], resources: Iterable[str] | None = None
) -> list[DryRun]:
    """What each rule would send of some resources of Orthanc, or of all; the last is the rest.

    Raises
    ------
    KeyError
        Orthanc has no such resource.
    OrthancError
        Orthanc is away.
    """
    matcher = Rules(rules, archive.attributes)
    found = [DryRun(rule) for rule in rules]
    rest = DryRun(None)
    for some in _portions(archive, resources):
        for described in archive.describe(some):
            matching = matcher.matching(described).values()
            for rule in matching:
                found[rules.index(rule)].add(described.study_instance_uid, described.size_bytes)
            if not matching:
                rest.add(described.study_instance_uid, described.size_bytes)
                for each, rule in zip(found, rules, strict=True):
                    each.missed[matcher.missed(rule, described)] += 1
    return [*found, rest]


def _portions(archive: OrthancSource, resources: Iterable[str] | None) -> Iterator[list[str]]:
    if resources is None:
        yield from archive.instances()
        return
    members = archive.members(resources)
    for start in range(0, len(members), _PORTION):
        yield members[start : start + _PORTION]


def conditions(rule: SendRule) -> str:
    """What a rule asks for; of attributes only the names, for the values may be patient data."""
    patterns = {
        "Modalities": rule.modalities,
        "CalledAet": rule.called_aet,
        "RemoteAet": rule.remote_aet,
        "Tags": tuple(rule.tags),
    }
    asked = [f"{name} {', '.join(values)}" for name, values in patterns.items() if values]
    return "; ".join(asked) or "all"
