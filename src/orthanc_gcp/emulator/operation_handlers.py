"""What carries out the operation of each method that begins one."""

from __future__ import annotations

from orthanc_gcp.emulator.dicomweb.deletion import carry_out_deletion
from orthanc_gcp.emulator.dicomweb.metadata_updates import change_instances
from orthanc_gcp.emulator.healthcare.datasets import add_dataset
from orthanc_gcp.emulator.healthcare.import_export import read_objects, write_objects
from orthanc_gcp.emulator.healthcare.storage_classes import change_storage_class

__all__ = ["WORK"]

WORK = {
    "CreateDataset": add_dataset,
    "DeleteSeries": carry_out_deletion,
    "DeleteStudy": carry_out_deletion,
    "ExportDicomData": write_objects,
    "ImportDicomData": read_objects,
    "SetBlobStorageSettings": change_storage_class,
    "UpdateSeriesMetadata": change_instances,
    "UpdateStudyMetadata": change_instances,
}
"""By the last part of Google's name for the method."""
