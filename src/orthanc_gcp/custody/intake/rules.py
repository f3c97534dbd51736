"""Which instances go where: the rules of ``GoogleCloudPlatform.Send``.

What rules ask for is what Orthanc indexes (its *main DICOM tags*, by ``/tools/bulk-content``) and
knows of an instance's origin (metadata ``CalledAET``, ``RemoteAET``); all other attributes are read
from the instance itself, by ``/instances/{id}/tags``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from orthanc_gcp.configuration import SendRule
from orthanc_gcp.configuration.attributes import Attribute, attribute, matches
from orthanc_gcp.errors import OrthancGoneError, OrthancRefusedError
from orthanc_gcp.ledger.rows import NewTransfer
from orthanc_gcp.ledger.schema import Priority
from orthanc_gcp.orthanc.resources import Description

__all__ = ["Rules", "arrival_of"]

Attributes = Callable[[str, Sequence[str]], Mapping[str, str]]


class Rules:
    """Decides for each instance; several rules may send it to several accounts.

    Parameters
    ----------
    rules
        In the order of the configuration: for each account the first that matches counts.
    attributes
        Orthanc's identifier and the numbers that matter -> the attributes of an instance by
        number, asked only when a rule names one that Orthanc does not index.
    """

    def __init__(self, rules: Sequence[SendRule], attributes: Attributes) -> None:
        self._rules, self._attributes = rules, attributes

    @property
    def accounts(self) -> Set[str]:
        """The accounts that anything can be sent to: so many transfers an instance can make."""
        return {rule.to for rule in self._rules}

    def matching(self, description: Description) -> dict[str, SendRule]:
        """The accounts that an instance goes to, each with the rule that says so.

        Raises
        ------
        OrthancError
            The attributes of the instance could not be read.
        """
        found: dict[str, SendRule] = {}
        for rule in self._rules:
            if rule.to not in found and self._matches(rule, description):
                found[rule.to] = rule
        return found

    def possible(self, description: Description) -> Set[str]:
        """The accounts that an instance goes to, or may go to as far as Orthanc can read it.

        Raises
        ------
        OrthancUnavailableError
            Orthanc cannot be asked just now.
        """
        return {rule.to for rule in self._rules if self._may_match(rule, description)}

    def _may_match(self, rule: SendRule, description: Description) -> bool:
        try:
            return self._matches(rule, description)
        except (OrthancGoneError, OrthancRefusedError):
            return True

    def arrivals(
        self, source: str, description: Description, change: int, priority: Priority
    ) -> Iterator[NewTransfer]:
        """The rows that an instance makes in the ledger.

        Parameters
        ----------
        source
            The ledger's name for its Orthanc.
        change
            The number of the change that reported it; 0 where none did.

        Raises
        ------
        OrthancError
            The attributes of the instance could not be read.
        """
        for account, rule in self.matching(description).items():
            # What is stable already, as at a backfill, is not held.
            held_for = description.parents.get(rule.level) if priority == Priority.LIVE else None
            yield arrival_of(description, source, account, change, priority, held_for)

    def missed(self, rule: SendRule, description: Description) -> str:
        """The first condition of a rule that an instance does not meet; empty if it meets all.

        Raises
        ------
        OrthancError
            The attributes of the instance could not be read.
        """
        return next((name for name, holds in self._conditions(rule, description) if not holds), "")

    def _matches(self, rule: SendRule, description: Description) -> bool:
        return not self.missed(rule, description)

    def _conditions(self, rule: SendRule, description: Description) -> Iterator[tuple[str, bool]]:
        """Each condition, the costly ones last, and whether it holds."""
        origin = description.origin
        yield "Modalities", matches(rule.modalities, description.tags.get("Modality", ""))
        yield "CalledAet", matches(rule.called_aet, origin.get("CalledAET", ""))
        yield "RemoteAet", matches(rule.remote_aet, origin.get("RemoteAET", ""))
        named = {name: _named(name) for name in rule.tags}
        values = self._values(list(named.values()), description)
        for name, pattern in rule.tags.items():
            yield f"Tags.{name}", matches((pattern,), values.get(named[name].number, ""))

    def _values(self, named: Sequence[Attribute], description: Description) -> Mapping[str, str]:
        """The values of some attributes, by number."""
        indexed = description.tags
        if all(one.keyword in indexed for one in named):
            return {one.number: indexed[one.keyword] for one in named}
        return self._attributes(description.orthanc_id, [one.number for one in named])


def _named(name: str) -> Attribute:
    """What a rule names; the configuration has none that does not exist."""
    found = attribute(name)
    if found is None:
        raise ValueError(name)
    return found


def arrival_of(
    description: Description,
    source: str,
    account: str,
    change: int = 0,
    priority: Priority = Priority.LIVE,
    held_for: str | None = None,
) -> NewTransfer:
    """An instance as the ledger records it, for one account."""
    return NewTransfer(
        account=account,
        source=source,
        orthanc_id=description.orthanc_id,
        study_instance_uid=description.study_instance_uid,
        series_instance_uid=description.series_instance_uid,
        sop_instance_uid=description.sop_instance_uid,
        size_bytes=description.size_bytes,
        received_at=description.received_at,
        attachment_uuid=description.attachment_uuid,
        change_seq=change,
        priority=priority,
        held_for_orthanc_id=held_for,
        patient_orthanc_id=description.parents.get("Patient"),
    )
