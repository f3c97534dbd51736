"""Tells somebody outside of alarms and of each day: by a webhook, by e-mail."""
