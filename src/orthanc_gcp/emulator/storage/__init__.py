"""What the emulator keeps on disk: files, and the tables that index them."""
