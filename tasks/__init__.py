"""Thin Prefect tasks, one file a verb, and what they share."""
