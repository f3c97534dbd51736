"""Whether everything is there: Orthanc, the ledger and the stores, compared study by study."""
