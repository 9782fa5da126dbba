"""What is on disk: regions, arrays, metadata, file formats, tables, progress and records."""
