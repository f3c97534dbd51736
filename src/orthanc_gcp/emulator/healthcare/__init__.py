"""The Healthcare API beside DICOMweb: datasets, stores, operations, import and export."""
