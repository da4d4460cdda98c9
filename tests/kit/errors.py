"""The failure of a kit step, told like every other failure of imgbuild."""

from __future__ import annotations

from builder.errors import ImgbuildError


class KitError(ImgbuildError):
    """A step of the kit could not be made: what failed, and where its log is."""
