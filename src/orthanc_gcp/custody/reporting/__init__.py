"""What people are told of the instances' way, and what they change of it."""
