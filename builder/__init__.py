"""imgbuild: GPU deep-learning images from one short YAML per image."""

__version__ = "0.1.0"
