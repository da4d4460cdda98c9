"""What a build reports while it runs: the values that the engine yields and progress draws."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The latest state of one build step (a BuildKit vertex). Times are seconds since the epoch."""

    digest: str
    name: str
    started: float | None = None
    completed: float | None = None
    cached: bool = False
    error: str = ""

    @property
    def run(self) -> tuple[str, float | None]:
        """What tells one run of a step from another: builds that share it report the same, some later than others."""
        return self.digest, self.started

    @property
    def cancelled(self) -> bool:
        """Whether it was given up, which is no failure of its own: the same step runs elsewhere, or another failed."""
        return "context canceled" in self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Progress of something a step moves: `current` of `total` bytes (0 when the total is unknown)."""

    step: str
    id: str
    current: int
    total: int
    completed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Text that a step wrote; `stream` is 1 for stdout and 2 for stderr. It may end in mid-line."""

    step: str
    stream: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A warning of the Dockerfile frontend, with the address of its explanation where there is one."""

    step: str
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The build is complete; `image_id` is the engine's content digest of the image (`sha256:…`)."""

    image_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The registry has the image under `ref`; `digest` is that of its manifest.

    `layers` is how many layers it lacked, `sent` their bytes by the engine's own account: compressed under the
    containerd store, before compression under the graphdriver store, without layers too small to see progress of.
    """

    ref: str
    digest: str
    layers: int
    sent: int


Event = Step | Transfer | Log | Notice | Built
