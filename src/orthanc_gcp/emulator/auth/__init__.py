"""Who may: OAuth 2.0, Security Token Service, IAM Credentials, metadata servers, IAM policies."""
