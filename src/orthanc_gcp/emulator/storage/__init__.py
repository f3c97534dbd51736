"""What the emulator remembers: files, and the tables that index them."""
