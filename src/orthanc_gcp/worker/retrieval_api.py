"""The routes about retrievals, as part of the worker's own REST API."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.retrievals.rows import Resource
from orthanc_gcp.ledger.uids import uid_fault
from orthanc_gcp.redaction import readable
from orthanc_gcp.retrieval.receive.receiver import Receiver
from orthanc_gcp.retrieval.receive.report import report_of
from orthanc_gcp.retrieval.report import as_json

__all__ = ["MOST_RESOURCES", "RetrievalApi", "named_in_orthanc"]

MOST_RESOURCES = 10_000
MOST_STUDIES = 1000
"""Whose priors are asked for at once."""
_EXPECTED = 'expected {"Resources": [{"Study": UID, "Series": UID, "Instance": UID}]}'
_LEVELS = ("Study", "Series", "Instance")
_IDENTIFIER = re.compile(r"[0-9A-Za-z-]{1,100}")
"""What a resource of Orthanc may be called; it is asked for it by a path."""


class RetrievalApi:
    """Takes what is wanted back, and says how far it is.

    Parameters
    ----------
    accounts
        Those that the configuration has.
    source
        The ledger's name for the index of Orthanc; empty until it is known.
    on_request
        Called when there is something to retrieve.
    demand_priors
        Asks for priors; see :meth:`orthanc_gcp.retrieval.prefetch.Prefetcher.demand`.
    receivers
        Of the subscriptions that are pulled.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: Collection[str],
        source: Callable[[], str],
        on_request: Callable[[], None],
        demand_priors: Callable[[str, str, Sequence[str]], int],
        receivers: Sequence[Receiver] = (),
    ) -> None:
        self._ledger, self._accounts, self._receivers = ledger, accounts, receivers
        self._source, self._on_request = source, on_request
        self._demand_priors = demand_priors

    def request(self, account: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write down what is wanted; which retrievals it is.

        The other fields of the DICOMweb plugin's body say how its job runs: there is none here.

        Raises
        ------
        HTTPException
            There is no such account, it is no such request, or it is not known yet into which
            Orthanc.
        """
        self._require(account)
        resources = _resources(body.get("Resources"))
        compare = body.get("Bytes", False)
        if not isinstance(compare, bool):
            raise HTTPException(400, "Bytes: expected true or false")
        source = self._known_source()
        numbers = self._ledger.retrievals.request(account, source, resources, compare_bytes=compare)
        self._on_request()
        return {"Account": account, "Retrievals": numbers}

    def prefetch(self, account: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for the priors of the patients of some studies; of how many.

        Raises
        ------
        HTTPException
            There is no such account, study or series, it is no such request, or it is not known
            yet into which Orthanc.
        OrthancError
            Orthanc is away, or refuses.
        """
        self._require(account)
        if unknown := set(body) - {"Resources"}:
            raise HTTPException(400, f"{readable(min(unknown))}: expected Resources")
        resources = named_in_orthanc(body.get("Resources"))
        if len(resources) > MOST_STUDIES:
            raise HTTPException(400, f"Resources: expected {MOST_STUDIES} at most")
        source = self._known_source()
        try:
            studies = self._demand_priors(source, account, resources)
        except KeyError as error:
            words = f"Orthanc has no study or series {readable(str(error.args[0]))}"
            raise HTTPException(404, words) from None
        return {"Account": account, "Studies": studies}

    def _known_source(self) -> str:
        source = self._source()
        if not source:
            raise HTTPException(503, "which Orthanc this is is not known yet: try again")
        return source

    def page(self, account: str, after: str, limit: int, number: str | None) -> dict[str, Any]:
        """The retrievals of an account, the newest first.

        Raises
        ------
        HTTPException
            There is no such account, or what is given is no number.
        """
        self._require(account)
        for name, given in (("after", after), ("id", number or "")):
            if given and (not given.isdecimal() or len(given) > 18):
                raise HTTPException(400, f"{name}: expected a whole number")
        limit = min(max(1, limit), 1000)
        found = self._ledger.retrievals.report(
            account,
            after=int(after or 0),
            limit=limit + 1,
            number=int(number) if number else None,
        )
        following = str(found[limit - 1].row.id) if len(found) > limit else ""
        return {
            "Account": account,
            "Retrievals": [as_json(one) for one in found[:limit]],
            "Receive": report_of(self._receivers, account),
            "Next": following,
        }

    def _require(self, account: str) -> None:
        if account not in self._accounts:
            raise HTTPException(404, f"there is no account {readable(account)}")


def named_in_orthanc(given: Any) -> list[str]:
    """Resources by Orthanc's identifiers: a list of them, or one, as a button of Orthanc Explorer 2
    names it, which puts none into lists.

    Raises
    ------
    HTTPException
        It is neither, or one can be none of Orthanc's.
    """
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list) or not all(isinstance(one, str) and one for one in named):
        raise HTTPException(400, 'expected {"Resources": [identifiers of Orthanc]}')
    for one in named:
        if not _IDENTIFIER.fullmatch(one):
            raise HTTPException(404, f"Orthanc has no resource {readable(one[:1000])}")
    return named


def _resources(given: Any) -> list[Resource]:
    if not isinstance(given, list) or not given:
        raise HTTPException(400, _EXPECTED)
    if len(given) > MOST_RESOURCES:
        raise HTTPException(400, f"Resources: expected {MOST_RESOURCES} at most")
    return [_resource(one) for one in given]


def _resource(given: Any) -> Resource:
    if not isinstance(given, dict) or set(given) - set(_LEVELS) or "Study" not in given:
        raise HTTPException(400, _EXPECTED)
    study, series, instance = (given.get(level) for level in _LEVELS)
    if not isinstance(study, str) or not all(
        uid is None or isinstance(uid, str) for uid in (series, instance)
    ):
        raise HTTPException(400, _EXPECTED)
    if series is None and instance is not None:
        raise HTTPException(400, "Instance: expected a Series as well")
    found = Resource(study.strip(), series and series.strip(), instance and instance.strip())
    levels = (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid)
    fault = uid_fault(*("1" if uid is None else uid for uid in levels))
    if fault is not None:
        raise HTTPException(400, f"Resources: {fault}")
    return found
