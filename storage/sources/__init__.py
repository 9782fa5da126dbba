"""Readers of instruments' file formats."""
