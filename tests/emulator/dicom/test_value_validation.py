"""Values of any form, which nothing warns of."""

from __future__ import annotations

import pydicom.config
from pydicom import Dataset

from orthanc_gcp.emulator.dicom.value_validation import any_values


def test_values_that_no_element_may_have() -> None:
    before = pydicom.config.settings.reading_validation_mode
    data_set = Dataset()
    # Outside of the block, each of these is a warning, which fails a test.
    with any_values():
        data_set.StudyDate = "yesterday"
        data_set.StudyInstanceUID = "study_1"
        data_set.Modality = "x" * 20
    assert data_set.StudyInstanceUID == "study_1"
    assert pydicom.config.settings.reading_validation_mode == before


def test_settings_come_back_after_an_error() -> None:
    before = pydicom.config.settings.writing_validation_mode
    for _ in range(2):
        try:
            with any_values():
                raise LookupError
        except LookupError:
            pass
    assert pydicom.config.settings.writing_validation_mode == before
