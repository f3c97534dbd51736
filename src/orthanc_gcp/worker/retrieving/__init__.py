"""What a worker brings back from stores, put together."""
