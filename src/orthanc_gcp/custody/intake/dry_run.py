"""What the rules would send where; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.orthanc.resources import Description, OrthancSource

__all__ = ["DryRun", "RuleResult", "Selected", "conditions", "dry_run"]

MOST_EXAMPLES = 3
_PORTION = 1000


@dataclass(frozen=True)
class Selected:
    """How many instances, their bytes, and some of their Study Instance UIDs."""

    instances: int = 0
    bytes: int = 0
    studies: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleResult:
    """What one rule would send.

    Attributes
    ----------
    missed
        Of what none of the rules wants: how much this rule's conditions exclude, by the first
        that is not met. No value of an attribute is in it.
    """

    rule: SendRule
    selected: Selected
    missed: Mapping[str, int]


@dataclass(frozen=True)
class DryRun:
    """What the rules would send, in their order, and what none of them wants."""

    rules: tuple[RuleResult, ...]
    unmatched: Selected


def dry_run(
    orthanc: OrthancSource, rules: Sequence[SendRule], resources: Iterable[str] | None = None
) -> DryRun:
    """What each rule would send of some resources of Orthanc, or of all that it has.

    Parameters
    ----------
    resources
        Orthanc's identifiers of patients, studies, series and instances; None for all.

    Raises
    ------
    KeyError
        Orthanc has no such resource.
    OrthancError
        Orthanc cannot be read from just now.
    """
    matcher = Rules(rules, orthanc.attributes)
    counts = [_Count() for _ in rules]
    unmatched = _Count()
    for portion in _portions(orthanc, resources):
        for described in orthanc.describe(portion):
            matching = matcher.matching(described).values()
            for rule in matching:
                counts[rules.index(rule)].add(described)
            if not matching:
                unmatched.add(described)
                for count, rule in zip(counts, rules, strict=True):
                    count.missed[matcher.missed(rule, described)] += 1
    results = (
        RuleResult(rule, count.selected, count.missed)
        for rule, count in zip(rules, counts, strict=True)
    )
    return DryRun(tuple(results), unmatched.selected)


@dataclass
class _Count:
    """Instances that are being counted."""

    instances: int = 0
    bytes: int = 0
    studies: dict[str, None] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)

    def add(self, instance: Description) -> None:
        self.instances += 1
        self.bytes += instance.size_bytes
        if len(self.studies) < MOST_EXAMPLES:
            self.studies[instance.study_instance_uid] = None

    @property
    def selected(self) -> Selected:
        return Selected(self.instances, self.bytes, tuple(self.studies))


def _portions(orthanc: OrthancSource, resources: Iterable[str] | None) -> Iterator[list[str]]:
    if resources is None:
        yield from orthanc.instances()
        return
    members = orthanc.members(resources)
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
