"""A DICOM store as one that is sent to: how much at once, and how fast."""
