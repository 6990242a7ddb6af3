"""The description of the HTTP API as OpenAPI 3.1, built from its types and what is installed."""
