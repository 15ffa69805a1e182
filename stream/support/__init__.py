"""Retries, deadlines and the redaction of secrets."""
