"""Image layouts are read with suspicion, and written so that equal images are equal bytes. Engines: tests/docker."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.bundle.copying import copy_layout
from builder.bundle.layout import Layout, read_layout
from builder.bundle.packing import load_images, pack_images
from builder.errors import BundleError, EngineError, ImgbuildError
from builder.files import open_whole
from builder.progress import choose_progress
from tests.layouts import OCI, describe, digest_of, dump, make_layout, pack, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.unit.conftest import Run

SHARED, FIRST, SECOND = b"shared" * 1000, b"first" * 100, b"second" * 100
IMAGES = {"app:1": (SHARED, FIRST), "app:2": (SHARED, SECOND)}
FILES = make_layout(IMAGES)


def read(files: dict[str, bytes] | bytes) -> Layout:
    return read_layout(io.BytesIO(files if isinstance(files, bytes) else pack(files.items())))


def refuse(files: dict[str, bytes] | bytes) -> str:
    with pytest.raises(BundleError) as refused:
        read(files)
    return str(refused.value)


def change(name: str, alter: Callable[[Any], object]) -> dict[str, bytes]:
    """Return the layout with one document altered."""
    document = json.loads(FILES[name])
    alter(document)
    return FILES | {name: dump(document)}


def change_manifest(alter: Callable[[Any], object]) -> dict[str, bytes]:
    """Return the layout with another manifest of its first image, which every list but docker's agrees with."""
    index = json.loads(FILES["index.json"])
    entry = index["manifests"][0]
    manifest = json.loads(FILES[path_of(entry["digest"])])
    alter(manifest)
    data = dump(manifest)
    entry |= describe(data, entry["mediaType"])
    return FILES | {path_of(digest_of(data)): data, "index.json": dump(index)}


def test_images_that_share_a_layer_have_it_once() -> None:
    layout = read(FILES)
    assert [image.ref for image in layout.images] == ["app:1", "app:2"]
    assert layout.blobs == 7  # 3 layers, 2 configs, 2 manifests
    assert layout.size == sum(image.size for image in layout.images) - len(SHARED)


def test_image_is_known_by_the_digests_of_its_manifest_and_its_config() -> None:
    manifest = json.loads(FILES["index.json"])["manifests"][0]["digest"]
    config = json.loads(FILES[path_of(manifest)])["config"]["digest"]
    assert read(FILES).images[0].ids == {manifest, config}


@given(st.sampled_from(sorted(FILES)), st.data())
def test_no_byte_of_a_blob_can_change(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed = FILES | {name: bytes(content)}
    if name.startswith("blobs/"):
        assert f"{name.replace('blobs/sha256/', 'sha256:')} is damaged" in refuse(changed)
        return
    try:  # a document has no digest: it may be refused, or still lead to the very same blobs
        images = read(changed).images
    except BundleError:
        return
    assert {image.ids for image in images} == {image.ids for image in read(FILES).images}


@given(st.data())
def test_truncated_file_is_refused_wherever_it_ends(data: st.DataObject) -> None:
    whole = pack(FILES.items())
    end = whole.rindex(FILES["oci-layout"]) + len(FILES["oci-layout"])
    refuse(whole[: data.draw(st.integers(0, end - 1))])


def test_truncated_file_names_the_blob_that_it_ends_in() -> None:
    whole = pack(FILES.items())
    name = path_of(digest_of(SHARED))
    assert f"it is truncated: it ends in {name}" in refuse(whole[: whole.index(SHARED) + 100])


@given(st.binary(max_size=2000))
def test_whatever_the_bytes_are_it_is_told_in_one_error(data: bytes) -> None:
    refuse(data)


def test_compressed_file_is_no_tar() -> None:
    assert "no tar archive" in refuse(gzip.compress(pack(FILES.items())))


@pytest.mark.parametrize("name", [*FILES])
def test_nothing_may_be_missing_but_dockers_own_list(name: str) -> None:
    files = {path: data for path, data in FILES.items() if path != name}
    if name == "manifest.json":
        assert read(files) == read(FILES)
    else:
        assert name.rpartition("/")[2] in refuse(files)


@pytest.mark.parametrize("name", [*FILES])
def test_nothing_is_in_it_twice(name: str) -> None:
    assert f"it holds {name} twice" in refuse(pack([*FILES.items(), (name, FILES[name])]))


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "blobs/../x", "blobs/sha256/abc", "blobs/sha512/" + "0" * 128, "x\x1b[2J"],
)
def test_no_other_file_has_a_place(name: str) -> None:
    said = refuse(FILES | {name: b"x"})
    assert "no place in an image layout" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_no_link_and_no_device_has_a_place(kind: bytes) -> None:
    for name in ("index.json", path_of(digest_of(FIRST))):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, path_of(digest_of(SHARED))
        others = [(path, data) for path, data in FILES.items() if path != name]
        assert "no place in an image layout" in refuse(pack([*others, (entry, b"")]))


def test_header_that_programs_read_differently_is_refused() -> None:
    entry = tarfile.TarInfo("index.json")
    entry.pax_headers = {"GNU.sparse.name": "index.json"}
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(entry)
    assert "GNU.sparse" in refuse(body.getvalue())


def test_header_of_gigabytes_is_not_read() -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 3 << 30
    assert "a header of" in refuse(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def test_document_that_no_engine_reads_is_not_read_either() -> None:
    assert "more than any engine reads" in refuse(FILES | {"index.json": bytes(5 << 20)})


def test_folders_and_dots_in_front_are_as_good() -> None:
    folder = tarfile.TarInfo("./blobs")
    folder.type = tarfile.DIRTYPE
    assert read(pack([(folder, b""), *((f"./{name}", data) for name, data in FILES.items())])) == read(FILES)


@pytest.mark.parametrize(
    ("said", "files"),
    [
        ("no list of manifests", FILES | {"index.json": b"{}"}),
        ("is no JSON object", FILES | {"index.json": b"[]"}),
        ("is no JSON", FILES | {"index.json": b"{"}),
        ("is no JSON", FILES | {"index.json": b"\xff"}),
        ("is no JSON", FILES | {"index.json": b"[" * 100_000}),
        ("names no image", FILES | {"index.json": b'{"manifests": []}'}),
        ("version '2.0.0'", FILES | {"oci-layout": b'{"imageLayoutVersion": "2.0.0"}'}),
        ("a media type", change("index.json", lambda it: it["manifests"][0].update(mediaType="text/plain"))),
        ("a media type", change("index.json", lambda it: it["manifests"][0].update(mediaType=[]))),
        ("'sha512:00'", change("index.json", lambda it: it["manifests"][0].update(digest="sha512:00"))),
        ("'sha256:../x'", change("index.json", lambda it: it["manifests"][0].update(digest="sha256:../x"))),
        ("the size True", change("index.json", lambda it: it["manifests"][0].update(size=True))),
        ("bytes, not 1", change("index.json", lambda it: it["manifests"][0].update(size=1))),
        ("a descriptor belongs", change("index.json", lambda it: it["manifests"].append("x"))),
        ("gives no name", change("index.json", lambda it: it["manifests"][0].pop("annotations"))),
        ("names two images app:1", change("index.json", lambda it: it["manifests"].append(it["manifests"][0]))),
        ("the same image app:2", change("index.json", lambda it: it["manifests"].pop())),
        ("the same image app:2", change("manifest.json", lambda it: it.pop())),
        ("the same image app:1", change("manifest.json", lambda it: it[0].update(Layers=it[1]["Layers"]))),
        ("names two images app:1", change("manifest.json", lambda it: it.append(it[0]))),
        ("which is no blob", change("manifest.json", lambda it: it[0].update(Config="../../etc/passwd"))),
        ("which is no blob", change("manifest.json", lambda it: it[0].update(Config="sha256:" + "0" * 64))),
        ("no list of RepoTags", change("manifest.json", lambda it: it[0].update(RepoTags=None))),
        ("is no list of images", FILES | {"manifest.json": b"{}"}),
        ("a media type", change_manifest(lambda it: it["config"].update(mediaType="text/plain"))),
        (
            "a media type",
            change_manifest(lambda it: it["layers"][0].update(mediaType=f"{OCI}.layer.nondistributable.v1.tar")),
        ),
        ("app:1 needs the blob", change_manifest(lambda it: it["layers"][0].update(digest=digest_of(b"x")))),
        ("no list of layers", change_manifest(lambda it: it.pop("layers"))),
        ("a descriptor belongs", change_manifest(lambda it: it.pop("config"))),
    ],
)  # fmt: skip
def test_what_documents_may_not_say(said: str, files: dict[str, bytes]) -> None:
    assert said in refuse(files)


@pytest.mark.parametrize("name", ["app", "app:1:\x1b[2J", "../app:1", "app:1\n", 7])
def test_name_that_is_none_is_refused(name: object) -> None:
    def rename(index: Any) -> None:
        index["manifests"][0]["annotations"]["io.containerd.image.name"] = name

    said = refuse(change("index.json", rename))
    assert "which is no NAME:TAG" in said
    assert "\x1b" not in said


def test_image_for_several_platforms_is_followed_to_the_last_blob() -> None:
    manifests = json.loads(FILES["index.json"])["manifests"]
    inner = dump({"manifests": manifests})
    entry = describe(inner, f"{OCI}.index.v1+json") | {"annotations": {"io.containerd.image.name": "r.example/app:3"}}
    files = {name: data for name, data in FILES.items() if name != "manifest.json"}
    files |= {path_of(digest_of(inner)): inner, "index.json": dump({"manifests": [entry]})}
    (image,) = read(files).images
    assert image.ref == "r.example/app:3"
    assert len(image.ids) == 3
    del files[path_of(digest_of(SECOND))]
    assert digest_of(SECOND) in refuse(files)


def copy(archive: bytes, *, piece: int = 1000) -> bytes:
    out = io.BytesIO()
    copy_layout((archive[at : at + piece] for at in range(0, len(archive), piece)), out)
    return out.getvalue()


def test_same_images_are_the_same_bytes_whatever_the_engine_says_besides() -> None:
    folder = tarfile.TarInfo("blobs")
    folder.type = tarfile.DIRTYPE
    again = FILES | {
        "index.json": change("index.json", lambda it: it["manifests"].reverse())["index.json"],
        "manifest.json": change("manifest.json", lambda it: it.reverse())["manifest.json"],
    }
    once = copy(pack(FILES.items(), mtime=1))
    assert copy(pack([(folder, b""), *again.items(), ("repositories", b"{}")], mtime=2), piece=7) == once
    assert read(once) == read(FILES)


def test_image_has_its_whole_name_where_skopeo_looks_for_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(copy(pack(FILES.items())))) as tar:
        index = json.load(tar.extractfile("index.json") or io.BytesIO())
    names = [image["annotations"]["org.opencontainers.image.ref.name"] for image in index["manifests"]]
    assert names == ["app:1", "app:2"]


def test_engine_that_gives_up_halfway_is_quoted() -> None:
    said = b'{"errorDetail":{"message":"write: no space left on device"},"error":"no"}\r\n'
    archive = pack(FILES.items())
    for end in (0, 512, 3000, archive.rindex(FILES["index.json"])):
        with pytest.raises(EngineError, match="gave up: write: no space left on device") as error:
            copy(archive[:end] + said)
        assert "docker system df" in str(error.value)


def test_engine_that_breaks_off_without_a_word_has_written_no_layout() -> None:
    archive = pack(FILES.items())
    for end in (0, 700, 3000, archive.rindex(FILES["index.json"])):
        with pytest.raises(EngineError, match="no OCI image layout"):
            copy(archive[:end])


def test_engine_that_is_too_old_is_told_from_its_first_file() -> None:
    with pytest.raises(EngineError, match=r"Docker Engine 25\.0"):
        copy(pack([("0123/layer.tar", b"x"), ("manifest.json", b"[]")]))


class FakeEngine:
    """What packing and loading ask of an engine: fixed images, and what it was given."""

    def __init__(self, archive: bytes, ids: dict[str, str]) -> None:
        self.archive = archive
        self.ids = ids
        self.given: bytes | None = None

    def save(self, refs: Sequence[str]) -> AbstractContextManager[Iterator[bytes]]:
        assert refs == sorted(self.ids)
        return contextlib.nullcontext(iter([self.archive]))

    def load(self, archive: Iterator[bytes]) -> None:
        self.given = b"".join(archive)

    def find_image(self, ref: str) -> str | None:
        return self.ids.get(ref)


IDS = {image.ref: min(image.ids) for image in read(FILES).images}


def pack_to(path: Path, engine: FakeEngine) -> Layout:
    with choose_progress("quiet", str) as progress:
        return pack_images(IDS, path, engine=engine, progress=progress)  # type: ignore[arg-type]


def load_from(path: Path, engine: FakeEngine) -> tuple[str, ...]:
    with choose_progress("quiet", str) as progress:
        return load_images(path, engine=engine, progress=progress)  # type: ignore[arg-type]


def test_what_was_packed_arrives(tmp_path: Path) -> None:
    path, engine = tmp_path / "images.tar", FakeEngine(pack(FILES.items()), IDS)
    assert pack_to(path, engine) == read(FILES)
    assert load_from(path, engine) == ("app:1", "app:2")
    assert engine.given == path.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["images.tar"]


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (pack(FILES.items())[:4000], "no OCI image layout"),
        (pack((FILES | {path_of(digest_of(FIRST)): SECOND}).items()), "cannot be verified"),
        (pack(make_layout({"app:1": (SECOND,), "app:2": IMAGES["app:2"]}).items()), "app:1 became another image"),
        (pack(make_layout({"app:1": IMAGES["app:1"]}).items()), "app:2 became another image"),
    ],
)
def test_pack_that_fails_leaves_the_old_file(tmp_path: Path, archive: bytes, said: str) -> None:
    path = tmp_path / "images.tar"
    path.write_text("old")
    with pytest.raises(EngineError, match=said):
        pack_to(path, FakeEngine(archive, IDS))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.open("/dev/full", os.O_RDWR)
    monkeypatch.setattr("builder.files.os.open", lambda *_: full)
    with pytest.raises(ImgbuildError, match=r"cannot write .*images\.tar: No space left on device"):
        pack_to(tmp_path / "images.tar", FakeEngine(pack(FILES.items()), IDS))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImgbuildError, match=r"cannot write .*: No such file"):
        pack_to(tmp_path / "no" / "images.tar", FakeEngine(pack(FILES.items()), IDS))


def test_engine_gets_nothing_of_a_damaged_file(tmp_path: Path) -> None:
    path, engine = tmp_path / "images.tar", FakeEngine(b"", IDS)
    path.write_bytes(pack(FILES.items()).replace(b"shared", b"Shared", 1))
    with pytest.raises(BundleError) as refused:
        load_from(path, engine)
    assert str(refused.value).startswith(f"{path}: the blob {digest_of(SHARED)} is damaged")
    assert engine.given is None


def test_engine_that_names_another_image_did_not_load_this_one(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(pack(FILES.items()))
    with pytest.raises(EngineError, match="app:2 is another"):
        load_from(path, FakeEngine(b"", IDS | {"app:2": IDS["app:1"]}))


def test_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open_whole(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with pytest.raises(ZeroDivisionError), open_whole(path) as file:
        file.write(b"%d" % (1 // (file.write(b"newer") - 5)))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_bundle_wants_cells_and_load_a_file(run: Run, tmp_path: Path) -> None:
    code, _, said = run("bundle", "--output", tmp_path / "images.tar")
    assert (code, "choose cells" in said) == (2, True)
    code, _, said = run("load", tmp_path / "none.tar")
    assert (code, "does not exist" in said) == (2, True)
