"""A static catalogue of published images: entries from a file, pages that answer questions, a folder written whole."""
