"""DICOMweb as the Healthcare API offers it: STOW-RS, QIDO-RS, WADO-RS, deletion, updates."""
