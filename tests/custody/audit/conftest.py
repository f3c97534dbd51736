"""An emulator, and a reader of the store of account ``a``."""

from __future__ import annotations

import pytest

from orthanc_gcp import configuration
from orthanc_gcp.auth.token_source import TokenSource
from orthanc_gcp.clock import SystemClock
from orthanc_gcp.custody.audit.stored import StoreReader
from orthanc_gcp.dicomweb import of_account
from tests.custody.verification.conftest import (
    _fault_settings_put_back,
    delete,
    dicom_store,
    faults,
    healthcare_emulator,
    stow,
)
from tests.support.orthanc import Orthanc

__all__ = [
    "_fault_settings_put_back",
    "delete",
    "dicom_store",
    "faults",
    "healthcare_emulator",
    "stow",
]


@pytest.fixture(scope="package")
def orthanc(tmp_path_factory):
    """A real one, which reads each file anew."""
    uncached = {"MaximumStorageCacheSize": 0}
    with Orthanc(tmp_path_factory.mktemp("orthanc"), uncached, plugins=()) as orthanc:
        yield orthanc


@pytest.fixture
def tokens(healthcare_emulator, dicom_store):
    """Tokens of account ``a``, from the emulator."""
    name = dicom_store.name
    account = {
        "Project": name.project,
        "Location": name.location,
        "Dataset": name.dataset,
        "DicomStore": name.store,
        "ServiceAccountFile": str(dicom_store.credentials_file),
    }
    settings = configuration.read(
        {
            "GoogleCloudPlatform": {
                "BaseUrl": f"{healthcare_emulator.url}/v1/",
                "Accounts": {"a": account},
            }
        }
    )
    source = TokenSource(settings, SystemClock())
    source.start()
    source.settings = settings
    yield source
    source.stop()


@pytest.fixture
def reader(tokens):
    """What it waits is in ``waited``, its requests are in ``asked``; ``meanwhile`` comes before."""
    (account,) = tokens.settings.accounts
    client = of_account(tokens.settings, account, tokens.authorization)
    waited, asked = [], []

    def before():
        asked.append(1)
        made.meanwhile()

    def wait(seconds):
        waited.append(seconds)
        return False

    made = StoreReader(client, before, lambda: tokens.renew("a"), wait)
    made.waited, made.asked, made.meanwhile = waited, asked, lambda: None
    yield made
    client.close()
