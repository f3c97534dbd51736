"""The doctor: what is wrong between this machine and a store, and what mends it."""

from orthanc_gcp.doctor.custody import examine_custody
from orthanc_gcp.doctor.examination import examine
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.orthanc import Site, examine_orthanc

__all__ = ["Finding", "Result", "Site", "examine", "examine_custody", "examine_orthanc"]
