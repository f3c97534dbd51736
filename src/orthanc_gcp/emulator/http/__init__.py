"""HTTP as all services of the emulator speak it."""
