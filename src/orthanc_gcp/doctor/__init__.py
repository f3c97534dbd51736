"""The doctor: what is wrong between this machine and a store, and what mends it."""

from orthanc_gcp.doctor.examination import examine
from orthanc_gcp.doctor.findings import Finding, Result

__all__ = ["Finding", "Result", "examine"]
