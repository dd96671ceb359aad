"""GitHub: webhook signatures, payloads, issue forms, slash commands and the REST API client."""
