"""Write the environment of an image as an archive for hosts without containers, with conda-pack.

conda-pack and a script run in a container of the image, without network, on the environment as it is there.
"""

from __future__ import annotations

import tarfile
import threading
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from builder.bundle.copying import Reply
from builder.errors import ImgbuildError
from builder.files import open_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = "/tmp/imgbuild-pack"  # noqa: S108 - in a container of its own
_ARCHIVE = f"{_FOLDER}/env.tar.gz"
_SCRIPT = Path(__file__).parent / "scripts" / "relocate.py"
_PIECE = 1 << 16


def pack_environment(image_id: str, prefix: str, path: Path) -> None:
    """Write the environment at a prefix in an image to a file: all of it, gzipped, or nothing.

    Unpacked anywhere, its `bin/conda-unpack` makes it an environment of that place. Raises ImgbuildError when it
    cannot be packed or written, CheckError when the image does not start, and EngineError when the engine is lost.
    """
    from builder.checks.container import start_container

    files = {f"{_FOLDER}/library/{name}": data for name, data in read_library().items()}
    files[f"{_FOLDER}/relocate.py"] = _SCRIPT.read_bytes()
    try:
        with (
            open_whole(path) as out,
            start_container(image_id, files, threading.Event(), entrypoint="", user="0") as container,
        ):
            command = [f"{prefix}/bin/python", "-E", "-s", "-B", f"{_FOLDER}/relocate.py", prefix, _ARCHIVE]
            done: Any = container.exec_run(command, user="0")
            if done.exit_code:
                said = done.output.decode(errors="replace").strip()
                raise ImgbuildError(f"conda-pack cannot pack this image: {said[-1000:]}")
            chunks, _ = container.get_archive(_ARCHIVE, chunk_size=_PIECE)
            _extract(chunks, out)
    except OSError as error:
        raise ImgbuildError(f"cannot write {path}: {error.strerror or error}; nothing was kept") from error


def read_library() -> dict[str, bytes]:
    """Return the files of conda-pack, which is Python alone, by their path in a folder that can be imported from."""
    found = metadata.files("conda-pack") or ()
    wanted = [file for file in found if ".." not in file.parts and file.suffix != ".pyc" and "tests" not in file.parts]
    return {str(file): Path(str(file.locate())).read_bytes() for file in wanted}


def _extract(chunks: Iterator[bytes], out: BinaryIO) -> None:
    """Write the one file that is in the engine's archive. Raises ImgbuildError when it ends early."""
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", Reply(chunks)), mode="r|") as tar:
            for member in tar:
                data = tar.extractfile(member)
                while data and (piece := data.read(_PIECE)):
                    out.write(piece)
    except tarfile.TarError as error:
        raise ImgbuildError("the engine broke off while it sent the archive", hint="rerun it.") from error
