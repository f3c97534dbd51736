"""Every account's access token, always fresh.

A token is renewed ahead of its end by a margin that grows with its lifetime, so that an outage of
the token endpoint that is shorter than the margin goes unnoticed. After a failure the old token
stays in use until it expires, and the next try comes after a growing pause.
"""
