"""Throughput of an image: measured inside it, told with its noise, compared with an earlier measurement."""
