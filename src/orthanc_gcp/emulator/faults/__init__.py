"""What the emulator does wrong when it is asked to."""
