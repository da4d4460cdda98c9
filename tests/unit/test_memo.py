"""What builds made is remembered by what went into them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from builder.context import Context, ContextFile
from builder.memo import Memo, digest_recipe

REF, RECIPE, IMAGE = "pytorch:2.7.1-cu118-py310", "sha256:" + "1" * 64, "sha256:" + "2" * 64

contexts = st.dictionaries(st.text("ab/", min_size=1, max_size=4), st.binary(max_size=6), max_size=4)


def make_context(files: dict[str, bytes]) -> Context:
    return Context(files=tuple(ContextFile(path=path, data=data) for path, data in sorted(files.items())))


def test_image_is_known_by_engine_ref_and_recipe(tmp_path: Path) -> None:
    Memo(tmp_path / "built", "one").keep(REF, RECIPE, IMAGE)
    assert Memo(tmp_path / "built", "one").find(REF, RECIPE) == IMAGE
    assert Memo(tmp_path / "built", "one").find(REF, IMAGE) is None
    assert Memo(tmp_path / "built", "one").find(REF + "x", RECIPE) is None
    assert Memo(tmp_path / "built", "other").find(REF, RECIPE) is None


def test_newest_build_of_a_ref_counts(tmp_path: Path) -> None:
    memo = Memo(tmp_path, "one")
    memo.keep(REF, RECIPE, IMAGE)
    memo.keep(REF, IMAGE, RECIPE)
    assert (memo.find(REF, RECIPE), memo.find(REF, IMAGE)) == (None, RECIPE)


def test_damaged_file_and_folder_that_cannot_be_written_are_nothing_known(tmp_path: Path) -> None:
    memo = Memo(tmp_path, "one")
    memo.keep(REF, RECIPE, IMAGE)
    for damage in (b"", RECIPE.encode(), b"\xff\xfe", b" "):
        next(tmp_path.iterdir()).write_bytes(damage)
        assert memo.find(REF, RECIPE) is None
    blocked = Memo(Path("/dev/null/built"), "one")
    blocked.keep(REF, RECIPE, IMAGE)
    assert blocked.find(REF, RECIPE) is None


def recipe(files: dict[str, bytes]) -> str:
    return digest_recipe(make_context(files), base="base", export={})


@given(contexts, contexts)
def test_recipe_tells_contexts_apart(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    same = recipe(one) == recipe(two)
    assert same is (one == two)


def test_recipe_tells_what_else_is_told_bases_and_exports_apart() -> None:
    context = make_context({"Dockerfile": b"FROM x"})
    zstd = {"compression": "zstd"}
    ways = [((), "b", {}), (("1",), "b", {}), (("2",), "b", {}), ((), "c", {}), ((), "b", zstd)]
    assert len({digest_recipe(context, *told, base=base, export=export) for told, base, export in ways}) == len(ways)
