"""What an account names as its credential, as one of google-auth."""
