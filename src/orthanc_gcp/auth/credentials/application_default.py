"""Application Default Credentials: where Google's own tools look, in their order.

https://cloud.google.com/docs/authentication/application-default-credentials
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orthanc_gcp.auth.credentials import documents
from orthanc_gcp.auth.credentials.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from orthanc_gcp.auth.credentials.documents import Document

__all__ = ["find", "well_known_file"]


def find(load: Callable[[Document], Identity], scopes: tuple[str, ...]) -> Identity:
    """The file of ``GOOGLE_APPLICATION_CREDENTIALS``, gcloud's file, or the metadata server.

    Raises
    ------
    CredentialError
        A file that is named or there cannot be used.
    """
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        return load(documents.read(Path(named), "GOOGLE_APPLICATION_CREDENTIALS"))
    if os.path.exists(well_known_file()):  # noqa: PTH110  # a folder may be closed to this user
        return load(documents.read(well_known_file(), "Application Default Credentials"))
    return _metadata_server(scopes)


def well_known_file() -> Path:
    """Where ``gcloud auth application-default login`` puts its file."""
    folder = os.environ.get("CLOUDSDK_CONFIG")
    base = Path(folder) if folder else Path.home() / ".config" / "gcloud"
    return base / "application_default_credentials.json"


def _metadata_server(scopes: tuple[str, ...]) -> Identity:
    """GCE, GKE with workload identity, Cloud Run: the platform knows who we are."""
    from google.auth import compute_engine

    return Identity("metadata server", compute_engine.Credentials(scopes=list(scopes)), scopes)
