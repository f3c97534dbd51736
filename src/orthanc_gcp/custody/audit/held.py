"""What Orthanc has of a study, and where the rules want it (Orthanc's REST API).

That something is not there proves no deletion: an Orthanc may have another index for a moment, as
it was started without its volume. What is missed counts only while it has the index of before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from sys import intern
from typing import TypeVar

from orthanc_gcp.custody.audit.comparison import Held
from orthanc_gcp.custody.audit.findings import Uids
from orthanc_gcp.custody.audit.retries import Retries
from orthanc_gcp.custody.intake.rules import Rules
from orthanc_gcp.errors import (
    GcpError,
    OrthancGoneError,
    OrthancRefusedError,
    OrthancUnavailableError,
)
from orthanc_gcp.ledger.uids import storable
from orthanc_gcp.orthanc.resources import Description, OrthancSource
from orthanc_gcp.orthanc.rest import UNANSWERED

__all__ = ["OrthancStudies"]

_PORTION = 200

Answer = TypeVar("Answer")


class OrthancStudies:
    """The studies of one Orthanc; those of one Study Instance UID and several patients are one.

    Parameters
    ----------
    wait
        Sleeps for some seconds; True says that the audit is to end.
    has_its_index
        Whether Orthanc has the index, just now, that the audit began with.
    """

    def __init__(
        self,
        orthanc: OrthancSource,
        rules: Rules,
        wait: Callable[[float], bool],
        has_its_index: Callable[[], bool] = lambda: True,
    ) -> None:
        self.source, self._rules, self._has_its_index = orthanc, rules, has_its_index
        self._retries = Retries(wait)

    def all(self, add: Callable[[str, str, str], object]) -> None:
        """Hand over the Study Instance UID, Orthanc's identifier and last update of all.

        A study may come several times: a list that breaks off begins anew.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """

        def listed() -> None:
            for page in self.source.study_uids():
                for name, uid, updated in page:
                    add(storable(uid), name, updated)

        self._ask(listed)
        while not self._is_sure():
            self._ask(self._miss)
            self._ask(listed)

    def find(self, study: str) -> list[str]:
        """Orthanc's identifiers of a study, by its Study Instance UID.

        Raises
        ------
        OrthancError
            Orthanc is away, or refuses.
        """
        return self._ask(partial(self._find, study))

    def instances(self, studies: Sequence[str]) -> list[Held]:
        """What Orthanc has now of studies that it had, by its identifiers.

        Raises
        ------
        OrthancError
            Orthanc stays away, or refuses.
        """
        found: list[Held] = []
        for study in studies:
            members = self._ask(partial(self._members, study))
            for start in range(0, len(members), _PORTION):
                some = members[start : start + _PORTION]
                found += self._ask(partial(self._described, some))
        return found

    def md5s(self, held: Sequence[Held]) -> dict[str, str]:
        """The MD5 of the files of instances that Orthanc has one of, by its identifiers.

        Raises
        ------
        OrthancError
            Orthanc stays away, or refuses.
        """
        found: dict[str, str] = {}
        for start in range(0, len(held), _PORTION):
            some = {
                one.orthanc_id: one.uids.sop_instance_uid for one in held[start : start + _PORTION]
            }
            answer = self._ask(partial(self.source.checksums.md5s, some))
            for name, md5 in answer.items():
                if isinstance(md5, OrthancRefusedError):
                    raise md5
                found[name] = md5
        return found

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        return self._retries.ask(partial(_understood, question), _pause)

    def _find(self, study: str) -> list[str]:
        found = self.source.find_study(study)
        if not found:
            self._miss()
        return found

    def _members(self, study: str) -> list[str]:
        try:
            return self.source.members([study])
        except KeyError:  # it was deleted meanwhile
            self._miss()
            return []

    def _described(self, resources: Sequence[str]) -> list[Held]:
        found = self.source.describe(resources)
        if len(found) < len(resources):
            self._miss()
        held = map(self._held, found)
        return [one for one in held if one is not None]

    def _is_sure(self) -> bool:
        try:
            return self._has_its_index()
        except OrthancUnavailableError:  # what it has when it is back is another question
            return False

    def _miss(self) -> None:
        """Something is not there: that counts if Orthanc has the index in which it was.

        Raises
        ------
        OrthancError
            It has another one, or none can be asked for.
        """
        if not self._has_its_index():
            raise OrthancUnavailableError("Orthanc has another index than in the beginning")

    def _held(self, one: Description) -> Held | None:
        """An instance, and where the rules want it; None where it was deleted meanwhile."""
        accounts: frozenset[str] | None = None
        possible = frozenset[str]()
        try:
            accounts = frozenset(self._rules.matching(one))
        except OrthancRefusedError:  # it answers, but not about this instance
            possible = frozenset(self._rules.possible(one))
        except OrthancGoneError:  # the instance, or only its file
            if not self._is_there(one.orthanc_id):
                return None
            possible = frozenset(self._rules.possible(one))
        # Strings that many instances have in common are in memory once.
        study, series = map(
            intern, map(storable, (one.study_instance_uid, one.series_instance_uid))
        )
        return Held(
            one.orthanc_id,
            Uids(study, series, storable(one.sop_instance_uid)),
            one.size_bytes,
            one.attachment_uuid,
            one.received_at,
            accounts,
            possible,
        )

    def _is_there(self, instance: str) -> bool:
        found = self.source.describe([instance])
        if not found:
            self._miss()
        return bool(found)


def _understood(question: Callable[[], Answer]) -> Answer:
    """The answer to a question, where it is one of an Orthanc."""
    try:
        return question()
    except (AttributeError, LookupError, TypeError, ValueError):
        raise OrthancRefusedError("the answer is not what Orthanc was asked for") from None


def _pause(error: GcpError) -> float | None:
    """An Orthanc that is started again is waited for; one that refuses says the same again.

    One that answers otherwise may just have been started.
    """
    was_away = isinstance(error, OrthancRefusedError) and error.status == UNANSWERED
    return 0 if was_away or isinstance(error, OrthancUnavailableError) else None
