"""What an identity may do beyond its one store.

Whoever may use Orthanc's REST API may do it, too: ``POST /dicom-web/servers/NAME/get`` and
``/delete`` of the DICOMweb plugin take ``../`` in an address, and so reach whatever the identity
may read or delete at the same host.

Permissions are those of Google's "Access control" page of the Cloud Healthcare API. A role on a
dataset or project counts for all that is below it (Google's "Resource hierarchy"), so that a
question about the dataset also shows what was granted on the project.
"""

from __future__ import annotations

from dataclasses import dataclass

from orthanc_gcp.doctor.healthcare_api import Store
from orthanc_gcp.errors import StoreError

__all__ = ["Excess", "excess_of"]


def _names(kind: str, *verbs: str) -> tuple[str, ...]:
    return tuple(f"healthcare.{kind}.{verb}" for verb in verbs)


_OF_STORE = _names("dicomStores", "delete", "update", "setIamPolicy", "deidentify")
_OF_DATASET = (
    _names("dicomStores", "dicomWebRead", "dicomWebWrite", "dicomWebDelete", "create", "delete"),
    _names("datasets", "update", "delete", "deidentify", "setIamPolicy"),
    _names("fhirResources", "get", "delete") + _names("fhirStores", "get", "export", "delete"),
    _names("hl7V2Messages", "get", "delete") + _names("hl7V2Stores", "get", "delete"),
    _names("consents", "get", "delete") + _names("consentStores", "get", "delete"),
)
"""Google refuses a question that names one permission which the resource cannot have: what belongs
together is asked for at once."""


@dataclass(frozen=True)
class Excess:
    """What an identity may do beyond storing, reading and deleting in its store.

    Attributes
    ----------
    of_store, of_dataset
        The permissions on the store, and on all that is in its dataset.
    in_project
        Whether it sees the datasets of the project: its roles are on the project, and so count for
        each of them.
    """

    of_store: tuple[str, ...] = ()
    of_dataset: tuple[str, ...] = ()
    in_project: bool = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.of_store or self.of_dataset or self.in_project)

    @property
    def words(self) -> str:
        """The same for a person."""
        parts = []
        if self.of_store:
            parts.append(f"on the store: {', '.join(self.of_store)}")
        if self.of_dataset:
            parts.append(f"on everything in its dataset: {', '.join(self.of_dataset)}")
        if self.in_project:
            parts.append("on datasets of the whole project: it may list them")
        return "; ".join(parts)


def excess_of(store: Store) -> Excess:
    """What the identity of a store's requests may do beyond it; nothing is changed.

    Raises
    ------
    StoreError
        Google does not say what the identity may do on the store.
    NetworkError
        No answer came.
    """
    of_store = sorted(store.permissions(list(_OF_STORE)))
    of_dataset: list[str] = []
    for wanted in _OF_DATASET:
        try:
            of_dataset += sorted(store.permissions_on_dataset(list(wanted)))
        except StoreError:  # it is not told, or has none of these permissions
            continue
    return Excess(tuple(of_store), tuple(of_dataset), _sees_datasets(store))


def _sees_datasets(store: Store) -> bool:
    """Whether it may list the datasets of its location, which no role on a dataset allows."""
    try:
        return isinstance(store.parsed(store.datasets()), dict)
    except StoreError:
        return False
