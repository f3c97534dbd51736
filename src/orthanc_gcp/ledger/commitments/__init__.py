"""What modalities want stores to be responsible for, and what they were answered."""
