"""DICOM files: read, written as JSON and XML, decoded, rendered."""
