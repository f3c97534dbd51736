"""The doctor: what is wrong between this machine and a store, and the remedy."""

from orthanc_gcp.doctor.account import check_account, remedy_of_failure
from orthanc_gcp.doctor.custody import check_custody
from orthanc_gcp.doctor.findings import Finding, Result
from orthanc_gcp.doctor.orthanc import Site, check_orthanc

__all__ = [
    "Finding",
    "Result",
    "Site",
    "check_account",
    "check_custody",
    "check_orthanc",
    "remedy_of_failure",
]
