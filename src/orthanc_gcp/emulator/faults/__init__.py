"""Fault injection: what the emulator does wrong when it is asked to."""
