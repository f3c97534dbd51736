"""Whether a DICOM store has what was sent to it."""
