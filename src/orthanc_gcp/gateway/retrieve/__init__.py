"""C-MOVE and C-GET: what a store has of a patient, study, series or instance is sent by C-STORE."""
