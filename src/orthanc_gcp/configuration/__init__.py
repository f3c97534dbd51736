"""Orthanc's JSON configuration -> :class:`Settings`: validated, immutable, the only reader of it.

Nothing here raises for bad input. What is wrong becomes a :class:`Problem` that names the option
by its path, what was found (never a secret's value) and what is expected; an account with an
error is left out, and all the others stay.
"""

from orthanc_gcp.configuration.modalities import Modality
from orthanc_gcp.configuration.options import (
    DEFAULT_BASE_URL,
    HEALTHCARE_SCOPE,
    SECTION,
    Account,
    BackfillOptions,
    DicomWeb,
    GatewayOptions,
    Globals,
    MailOptions,
    PrefetchRule,
    PythonPlugin,
    ReceiveRule,
    Section,
    SendRule,
    Settings,
    WorklistPlugin,
)
from orthanc_gcp.configuration.problems import Problem
from orthanc_gcp.configuration.reading import read

__all__ = [
    "DEFAULT_BASE_URL",
    "HEALTHCARE_SCOPE",
    "SECTION",
    "Account",
    "BackfillOptions",
    "DicomWeb",
    "GatewayOptions",
    "Globals",
    "MailOptions",
    "Modality",
    "PrefetchRule",
    "Problem",
    "PythonPlugin",
    "ReceiveRule",
    "Section",
    "SendRule",
    "Settings",
    "WorklistPlugin",
    "read",
]
