"""A real Orthanc, and the module that its Python plugin would give."""

from __future__ import annotations

import logging

import pytest

from tests.support.orthanc import DICOMWEB
from tests.support.orthanc_module import OrthancModule


@pytest.fixture
def unchanged_log():
    """What a plugin does to the package's logger ends with the test."""
    log = logging.getLogger("orthanc_gcp")
    before = log.handlers[:], log.level, log.propagate
    yield log
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture
def inside(orthanc, unchanged_log):
    """Makes the module of an Orthanc without the Python plugin: what stands in for it is here."""

    def make(configuration, **options):
        return OrthancModule(orthanc(configuration, **{"plugins": (DICOMWEB,), **options}))

    return make
