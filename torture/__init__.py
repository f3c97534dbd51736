"""Long tests that a hospital would believe: ``make torture``."""
