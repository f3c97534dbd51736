"""What the emulator has beside Google: its switches, and a page for people."""
