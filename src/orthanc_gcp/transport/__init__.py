"""HTTP as connector and worker speak it: connections, requests, and what each one carries."""
