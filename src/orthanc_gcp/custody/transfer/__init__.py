"""From the ledger to a DICOM store: batches, and what becomes of each instance."""
