"""What is shown while something goes on: how far it is, how fast, and when it will end."""
