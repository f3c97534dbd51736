"""DICOM files (PS3.10): read, written as JSON and XML, decoded, transcoded, rendered."""
