"""The application: what programs import and call."""
