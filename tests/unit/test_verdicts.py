"""What checks found is remembered for the one who publishes, or not known at all: never half of it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from builder.checks import Verdict
from builder.verdicts import Verdicts

REF, IMAGE, OTHER = "pytorch:2.7.1-cu118-py310", "sha256:" + "1" * 64, "sha256:" + "2" * 64
FOUND = (
    Verdict(check="python", verdict="pass", detail="3.10"),
    Verdict(check="device", verdict="skip", detail="no GPU\nhere: \N{LINE SEPARATOR}"),
)


def test_verdicts_are_known_by_engine_ref_and_image(tmp_path: Path) -> None:
    Verdicts(tmp_path / "checked", "one").keep(REF, IMAGE, FOUND)
    assert Verdicts(tmp_path / "checked", "one").find(REF, IMAGE) == FOUND
    assert Verdicts(tmp_path / "checked", "one").find(REF, OTHER) == ()
    assert Verdicts(tmp_path / "checked", "one").find(REF + "x", IMAGE) == ()
    assert Verdicts(tmp_path / "checked", "other").find(REF, IMAGE) == ()


def test_newest_image_of_a_ref_counts(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path, "one")
    verdicts.keep(REF, IMAGE, FOUND)
    verdicts.keep(REF, OTHER, FOUND[:1])
    assert (verdicts.find(REF, IMAGE), verdicts.find(REF, OTHER)) == ((), FOUND[:1])


def test_folder_that_cannot_be_written_is_nothing_known() -> None:
    verdicts = Verdicts(Path("/dev/null/checked"), "one")
    verdicts.keep(REF, IMAGE, FOUND)
    assert verdicts.find(REF, IMAGE) == ()


@given(st.data())
def test_damaged_file_is_nothing_known(tmp_path_factory: object, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("checked")  # type: ignore[attr-defined]
    verdicts = Verdicts(folder, "one")
    verdicts.keep(REF, IMAGE, FOUND)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 2))
    damaged = data.draw(st.sampled_from([whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]]))
    path.write_bytes(damaged)
    assert verdicts.find(REF, IMAGE) == ()
