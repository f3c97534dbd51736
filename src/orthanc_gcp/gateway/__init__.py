"""The front door for workstations: DIMSE services (DICOM PS3.7) answered from a DICOM store."""
