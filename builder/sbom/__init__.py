"""What an image is made of and where that came from, told from its lock: bills of materials and provenance.

Pure: no engine and no registry is asked. Which file belongs to which package only the image itself can tell; its
inventory is made by `scripts/inventory.py` in a container, and taken here as a value.
"""
