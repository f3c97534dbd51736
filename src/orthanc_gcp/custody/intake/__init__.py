"""From an Orthanc into the ledger: its changes, the rules, what people ask for, the backfill."""
