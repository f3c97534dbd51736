"""What the emulator has beside Google: its fault settings, and a web page for people."""
