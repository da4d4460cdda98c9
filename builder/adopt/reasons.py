"""Why something of another tool's file has no place in a definition, where several readers say it."""

from __future__ import annotations

NO_PLACE = "a definition has no place for it"
NO_WHEEL = "a lock holds wheels of an index only: publish it as a wheel, or install it later"
OWN_IMAGE = "make an image of its own for it, which extends this one"
