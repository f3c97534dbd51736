"""What one operating system has and another has not."""
