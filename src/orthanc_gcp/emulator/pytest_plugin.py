"""Fixtures for pytest: an emulator of the session, and for each test a DICOM store of its own.

To be named in ``pytest_plugins`` of a ``conftest.py``, or after ``pytest -p``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

try:
    from orthanc_gcp.emulator.resource_names import StoreName
    from orthanc_gcp.emulator.server import DEFAULT_STORE, Emulator, Options
except ModuleNotFoundError as error:
    package = (error.name or "").partition(".")[0]
    raise pytest.UsageError(
        f"The emulator needs {package}. Install it: pip install 'orthanc-gcp[emulator]'"
    ) from error

__all__ = ["DicomStore", "dicom_store", "healthcare_emulator"]

_RUNNING = pytest.StashKey[Emulator]()


@dataclass(frozen=True)
class DicomStore:
    """A DICOM store of the emulator, and the way in."""

    emulator: Emulator
    name: StoreName
    credentials_file: Path
    """The key of a service account."""

    @property
    def dicomweb_url(self) -> str:
        """What DICOMweb clients want to know."""
        return self.emulator.dicomweb_url(self.name)

    def token(self) -> str:
        """Return a new access token."""
        return self.emulator.access_token()

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs to be let in."""
        return {"Authorization": f"Bearer {self.token()}"}


@pytest.fixture(scope="session")
def healthcare_emulator(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Emulator]:
    """An emulator in a temporary folder, on a free port, with credential files."""
    folder = tmp_path_factory.mktemp("healthcare")
    options = Options(folder / "data", write_credentials=folder / "credentials")
    with Emulator(options) as emulator:
        pytestconfig.stash[_RUNNING] = emulator
        yield emulator


@pytest.fixture
def dicom_store(healthcare_emulator: Emulator) -> Iterator[DicomStore]:
    """An empty DICOM store, which is deleted after the test."""
    name = replace(DEFAULT_STORE, store=f"test-{secrets.token_hex(8)}")
    credentials = healthcare_emulator.credentials
    assert credentials is not None, "the fixture above wants them written"  # noqa: S101 - for mypy # nosec B101
    healthcare_emulator.create_store(name)
    yield DicomStore(healthcare_emulator, name, credentials / "service-account.json")
    healthcare_emulator.delete_store(name)


@pytest.fixture(autouse=True)
def _fault_settings_put_back(pytestconfig: pytest.Config) -> Iterator[None]:
    """What a test breaks does not stay broken; starts no emulator where none is used."""
    yield
    emulator = pytestconfig.stash.get(_RUNNING, None)
    if emulator is not None:
        emulator.fault_settings.reset()
