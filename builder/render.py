from dataclasses import dataclass
@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    path: str
    data: bytes
    executable: bool = False

@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    files: tuple[ContextFile, ...]
