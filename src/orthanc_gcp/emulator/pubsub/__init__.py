"""Cloud Pub/Sub: topics, subscriptions, messages."""
