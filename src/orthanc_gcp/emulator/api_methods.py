"""The methods of the Healthcare API: their paths, handlers, and the permissions they take.

Sources: the API's discovery document (paths, methods) and "Access control" (permissions);
``google.api.http``, "Path template syntax" (what percent-encoding means in a path).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import unquote

from starlette.responses import Response

from orthanc_gcp.emulator.dicomweb.bulk_data import retrieve_bulk_data
from orthanc_gcp.emulator.dicomweb.deletion import delete_instance, delete_series, delete_study
from orthanc_gcp.emulator.dicomweb.frames import retrieve_frames
from orthanc_gcp.emulator.dicomweb.metadata_updates import update_metadata
from orthanc_gcp.emulator.dicomweb.qido import search_instances, search_series, search_studies
from orthanc_gcp.emulator.dicomweb.rendered import retrieve_rendered
from orthanc_gcp.emulator.dicomweb.stow import store_instances, update_instances
from orthanc_gcp.emulator.dicomweb.transaction_time import limited
from orthanc_gcp.emulator.dicomweb.wado import retrieve, retrieve_instance, retrieve_metadata
from orthanc_gcp.emulator.healthcare.datasets import (
    create_dataset,
    delete_dataset,
    get_dataset,
    list_datasets,
    patch_dataset,
)
from orthanc_gcp.emulator.healthcare.deidentification import deidentify
from orthanc_gcp.emulator.healthcare.dicom_stores import (
    create_store,
    delete_store,
    get_store,
    list_stores,
    patch_store,
)
from orthanc_gcp.emulator.healthcare.iam import get_iam_policy, set_iam_policy, test_iam_permissions
from orthanc_gcp.emulator.healthcare.import_export import export_instances, import_instances
from orthanc_gcp.emulator.healthcare.locations import get_location, list_locations
from orthanc_gcp.emulator.healthcare.metrics import (
    get_series_metrics,
    get_storage_info,
    get_store_metrics,
    get_study_metrics,
)
from orthanc_gcp.emulator.healthcare.operation_methods import (
    cancel_operation,
    get_operation,
    list_operations,
)
from orthanc_gcp.emulator.healthcare.request_context import RequestContext
from orthanc_gcp.emulator.healthcare.storage_classes import set_blob_storage_settings

__all__ = [
    "DATASET_METHODS",
    "LOCATION_METHODS",
    "NO_PERMISSION",
    "ApiMethod",
    "FoundMethod",
    "find_method",
]

Handler = Callable[[RequestContext], Awaitable[Response]]

_DATASET = re.compile(
    r"/(?P<version>v1|v1beta1)/projects/(?P<project>[^/:]+)/locations/(?P<location>[^/:]+)"
    r"/datasets/(?P<dataset>[^/:]+)(?P<rest>(?:[/:].*)?)"
)
_PROJECT = re.compile(
    r"/(?P<version>v1|v1beta1)/projects/(?P<project>[^/:]+)/locations(?P<rest>(?:/.*)?)"
)
_LOCATION = "/(?P<location>[^/:]+)"
_STORE = "/dicomStores/(?P<store>[^/:]+)"
_STUDIES = f"{_STORE}/dicomWeb/studies"
_STUDY = f"{_STUDIES}/(?P<study>[^/:]+)"
_SERIES = f"{_STUDY}/series/(?P<series>[^/:]+)"
_INSTANCE = f"{_SERIES}/instances/(?P<instance>[^/:]+)"
_FRAMES = f"{_INSTANCE}/frames/(?P<frames>[^/:]+)"
_BULK_DATA = f"{_INSTANCE}/bulkdata/(?P<bulk>[^:]+)"
_WEB = "/dicomWeb/"
_UIDS = frozenset({"study", "series", "instance"})
_ENCODED_SLASH = re.compile("%(2[Ff])")

NO_PERMISSION = ""
"""What it takes to ask which permissions one has."""


@dataclass(frozen=True)
class ApiMethod:
    """A method of the API.

    Attributes
    ----------
    verb : str
        The method of HTTP.
    path : re.Pattern
        What follows the name of the dataset or of the project's locations in the path; its groups
        are the names that the handler gets.
    rpc : str
        Google's name for it, without the version's package.
    permission : str
        What it takes, or :data:`NO_PERMISSION`.
    versions : tuple of str
        Those of the API that have it.
    """

    verb: str
    path: re.Pattern[str]
    handler: Handler
    rpc: str
    permission: str
    versions: tuple[str, ...] = ("v1", "v1beta1")


def _web(verb: str, path: str, handler: Handler, method: str, permission: str) -> ApiMethod:
    rpc = f"dicomweb.DicomWebService.{method}"
    return ApiMethod(
        verb, re.compile(path), handler, rpc, f"healthcare.dicomStores.dicomWeb{permission}"
    )


def _control(verb: str, path: str, handler: Handler, method: str, permission: str) -> ApiMethod:
    return ApiMethod(verb, re.compile(path), handler, method, f"healthcare.{permission}")


def _policy(resource: str, kind: str) -> tuple[ApiMethod, ...]:
    rpc = "iam.IamPolicyService."
    return (
        _control(
            "GET",
            f"{resource}:getIamPolicy",
            get_iam_policy,
            f"{rpc}GetIamPolicy",
            f"{kind}.getIamPolicy",
        ),
        _control(
            "POST",
            f"{resource}:setIamPolicy",
            set_iam_policy,
            f"{rpc}SetIamPolicy",
            f"{kind}.setIamPolicy",
        ),
        ApiMethod(
            "POST",
            re.compile(f"{resource}:testIamPermissions"),
            test_iam_permissions,
            f"{rpc}TestIamPermissions",
            NO_PERMISSION,
        ),
    )


DATASET_METHODS = (
    _web("POST", _STUDIES, limited(store_instances), "StoreInstances", "Write"),
    _web("POST", _STUDY, limited(store_instances), "StoreInstances", "Write"),
    *(
        replace(
            _web("PUT", path, limited(update_instances), "UpdateInstances", "Update"),
            versions=("v1beta1",),
        )
        for path in (_STUDIES, _STUDY)
    ),
    *(
        replace(
            _web("PATCH", f"{path}/metadata", update_metadata, f"Update{level}Metadata", "Update"),
            versions=("v1beta1",),
        )
        for path, level in ((_STUDY, "Study"), (_SERIES, "Series"), (_INSTANCE, "Instance"))
    ),
    _web("GET", _STUDIES, search_studies, "SearchForStudies", "Read"),
    _web("GET", f"{_STORE}/dicomWeb/series", search_series, "SearchForSeries", "Read"),
    _web("GET", f"{_STORE}/dicomWeb/instances", search_instances, "SearchForInstances", "Read"),
    _web("GET", f"{_STUDY}/series", search_series, "SearchForSeries", "Read"),
    _web("GET", f"{_STUDY}/instances", search_instances, "SearchForInstances", "Read"),
    _web("GET", f"{_SERIES}/instances", search_instances, "SearchForInstances", "Read"),
    _web("GET", _STUDY, limited(retrieve), "RetrieveStudy", "Read"),
    _web("GET", _SERIES, limited(retrieve), "RetrieveSeries", "Read"),
    _web("GET", _INSTANCE, limited(retrieve_instance), "RetrieveInstance", "Read"),
    _web("GET", f"{_STUDY}/metadata", limited(retrieve_metadata), "RetrieveStudyMetadata", "Read"),
    _web(
        "GET", f"{_SERIES}/metadata", limited(retrieve_metadata), "RetrieveSeriesMetadata", "Read"
    ),
    _web(
        "GET",
        f"{_INSTANCE}/metadata",
        limited(retrieve_metadata),
        "RetrieveInstanceMetadata",
        "Read",
    ),
    _web("GET", _FRAMES, limited(retrieve_frames), "RetrieveFrames", "Read"),
    _web(
        "GET",
        f"{_INSTANCE}/rendered",
        limited(retrieve_rendered),
        "RetrieveRenderedInstance",
        "Read",
    ),
    _web(
        "GET", f"{_FRAMES}/rendered", limited(retrieve_rendered), "RetrieveRenderedFrames", "Read"
    ),
    _web("GET", _BULK_DATA, limited(retrieve_bulk_data), "RetrieveBulkdata", "Read"),
    _web("DELETE", _STUDY, delete_study, "DeleteStudy", "Delete"),
    _web("DELETE", _SERIES, delete_series, "DeleteSeries", "Delete"),
    _web("DELETE", _INSTANCE, delete_instance, "DeleteInstance", "Delete"),
    _control("GET", _STORE, get_store, "dicom.DicomService.GetDicomStore", "dicomStores.get"),
    _control(
        "PATCH",
        _STORE,
        patch_store,
        "dicom.DicomService.UpdateDicomStore",
        "dicomStores.update",
    ),
    _control(
        "DELETE",
        _STORE,
        delete_store,
        "dicom.DicomService.DeleteDicomStore",
        "dicomStores.delete",
    ),
    *_policy(_STORE, "dicomStores"),
    *_policy("", "datasets"),
    _control(
        "GET", "/dicomStores", list_stores, "dicom.DicomService.ListDicomStores", "dicomStores.list"
    ),
    _control(
        "POST",
        "/dicomStores",
        create_store,
        "dicom.DicomService.CreateDicomStore",
        "dicomStores.create",
    ),
    _control(
        "GET",
        "/operations/(?P<operation>[^/:]+)",
        get_operation,
        "operations.OperationsService.GetOperation",
        "operations.get",
    ),
    _control(
        "GET",
        "/operations",
        list_operations,
        "operations.OperationsService.ListOperations",
        "operations.list",
    ),
    _control(
        "POST",
        "/operations/(?P<operation>[^/:]+):cancel",
        cancel_operation,
        "operations.OperationsService.CancelOperation",
        "operations.cancel",
    ),
    _control(
        "GET",
        f"{_STORE}:getDICOMStoreMetrics",
        get_store_metrics,
        "dicom.DicomService.GetDICOMStoreMetrics",
        "dicomStores.get",
    ),
    _web("GET", f"{_STUDY}:getStudyMetrics", get_study_metrics, "GetStudyMetrics", "Read"),
    _web("GET", f"{_SERIES}:getSeriesMetrics", get_series_metrics, "GetSeriesMetrics", "Read"),
    _control(
        "GET",
        f"{_INSTANCE}:getStorageInfo",
        get_storage_info,
        "storageinfo.StorageInfoService.GetStorageInfo",
        "dicomStores.dicomWebRead",
    ),
    *(
        _control(
            "POST",
            f"{resource}:setBlobStorageSettings",
            set_blob_storage_settings,
            "storageinfo.StorageInfoService.SetBlobStorageSettings",
            "dicomStores.dicomWebWrite",
        )
        for resource in (_STORE, _STUDY, _SERIES, _INSTANCE)
    ),
    _control(
        "POST",
        f"{_STORE}:import",
        import_instances,
        "dicom.DicomService.ImportDicomData",
        "dicomStores.import",
    ),
    _control(
        "POST",
        f"{_STORE}:export",
        export_instances,
        "dicom.DicomService.ExportDicomData",
        "dicomStores.export",
    ),
    _control(
        "POST",
        f"{_STORE}:deidentify",
        deidentify,
        "dicom.DicomService.DeidentifyDicomStore",
        "dicomStores.deidentify",
    ),
    _control(
        "POST",
        ":deidentify",
        deidentify,
        "dataset.DatasetService.DeidentifyDataset",
        "datasets.deidentify",
    ),
    _control("GET", "", get_dataset, "dataset.DatasetService.GetDataset", "datasets.get"),
    _control("PATCH", "", patch_dataset, "dataset.DatasetService.UpdateDataset", "datasets.update"),
    _control(
        "DELETE", "", delete_dataset, "dataset.DatasetService.DeleteDataset", "datasets.delete"
    ),
)
LOCATION_METHODS = (
    _control("GET", "", list_locations, "location.Locations.ListLocations", "locations.list"),
    _control("GET", _LOCATION, get_location, "location.Locations.GetLocation", "locations.get"),
    _control(
        "GET",
        f"{_LOCATION}/datasets",
        list_datasets,
        "dataset.DatasetService.ListDatasets",
        "datasets.list",
    ),
    _control(
        "POST",
        f"{_LOCATION}/datasets",
        create_dataset,
        "dataset.DatasetService.CreateDataset",
        "datasets.create",
    ),
)


class FoundMethod(NamedTuple):
    """A method of the API, and what the path of a request names."""

    method: ApiMethod
    version: str
    names: dict[str, str]

    @property
    def rpc(self) -> str:
        """Google's name for the method, in the version that the path asks for."""
        return f"google.cloud.healthcare.{self.version}.{self.method.rpc}"


def find_method(verb: str, path: str) -> FoundMethod | None:
    """Return the method that a request is for, if there is one.

    ``path`` is percent-encoded, as the client wrote it. DICOMweb lets it end with a slash.
    """
    for start, methods in ((_DATASET, DATASET_METHODS), (_PROJECT, LOCATION_METHODS)):
        match = start.fullmatch(path)
        if match is None:
            continue
        names = match.groupdict()
        version, rest = names.pop("version"), names.pop("rest")
        if _WEB in rest:
            rest = rest.removesuffix("/")
        for method in methods:
            if method.verb != verb or version not in method.versions:
                continue
            found = method.path.fullmatch(rest)
            if found is not None:
                names.update(found.groupdict())
                return FoundMethod(method, version, _decoded(names) if "%" in path else names)
    return None


def _decoded(names: dict[str, str]) -> dict[str, str]:
    """Return the names of a path without percent-encoding.

    A slash stays encoded, as it separates names; in a UID it is one character among others.
    """
    return {
        kind: unquote(name if kind in _UIDS else _ENCODED_SLASH.sub(r"%25\1", name))
        for kind, name in names.items()
    }
