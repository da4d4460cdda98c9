"""Images as one file, for hosts that reach no registry."""
