"""Storage commitment: modalities ask whether the store is responsible for what they have sent."""
