"""Signatures of published images that cosign reads, too, and what they vouch for."""
