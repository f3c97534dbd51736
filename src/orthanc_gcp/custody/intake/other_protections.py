"""Patients that Orthanc protects from its recycling, and that the ledger has nothing of.

Somebody else has protected them; or custody has, and its ledger was lost, or restored from before.
Orthanc does not say who it was (``/patients/{id}/protected``), so a person has to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orthanc_gcp.custody.intake.patients import Patients
from orthanc_gcp.ledger.ledger import Ledger
from orthanc_gcp.ledger.rows import portions
from orthanc_gcp.orthanc.recycling import Recycling

__all__ = ["other_protections", "unprotect"]

_PORTION = 100


def other_protections(ledger: Ledger, recycling: Recycling, source: str) -> Iterator[str]:
    """These patients, by Orthanc's identifiers: each one is asked for by itself.

    Those that the ledger knows are left out: a worker takes its own protection away in time.

    Parameters
    ----------
    source
        What the ledger calls the index that Orthanc has.

    Raises
    ------
    OrthancError
        Orthanc cannot be asked.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away.
    """
    patients = Patients(ledger)
    for some in portions(recycling.patients(), _PORTION):
        known = patients.known_of(source, some)
        for one in some:
            if one not in known and recycling.is_protected(one):
                yield one


def unprotect(ledger: Ledger, recycling: Recycling, source: str, names: Sequence[str]) -> int:
    """Let Orthanc recycle some of these patients again; of how many it does not protect any more.

    One of which something has come meanwhile is left to the worker.

    Raises
    ------
    OrthancError
        Orthanc cannot be asked: some may be protected still.
    sqlalchemy.exc.SQLAlchemyError
        The ledger is away: likewise.
    """
    patients, done = Patients(ledger), 0
    for one in names:
        if patients.known_of(source, [one]) or not recycling.is_protected(one):
            continue
        recycling.protect(one, protected=False)
        if patients.known_of(source, [one]):  # the worker has just counted on its protection
            recycling.protect(one, protected=True)
        else:
            done += 1
    return done
