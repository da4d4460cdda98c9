"""A stand-in for triton: torch.compile needs it to be there."""

__version__ = "3.2.0"
