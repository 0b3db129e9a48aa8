import io
import os
import tarfile
import zipfile

import pytest

from vreid_jax.datasets import pictures
from vreid_jax.datasets.manual.files import ManualFiles, frame_order, is_litter
from vreid_jax.datasets.manual.listing import Tracklet
from vreid_jax.errors import InputError


@pytest.fixture
def tree(tmp_path, tiny_jpeg):
    """The same three pictures unpacked, in a zip and in a tar file."""
    root = tmp_path / "tree"
    for name in ("10", "9", "100"):
        path = root / "set" / "person" / f"f{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny_jpeg + name.encode())
    for form in ("folder", "zip", "tar"):
        (tmp_path / form).mkdir()
    root.joinpath("set").rename(tmp_path / "folder" / "set")
    source = tmp_path / "folder" / "set"
    with zipfile.ZipFile(tmp_path / "zip" / "a.zip", "w") as archive:
        for path in source.rglob("*.jpg"):
            archive.write(path, path.relative_to(source.parent))
        archive.writestr("set/person/._f9.jpg", "litter")
    with tarfile.open(tmp_path / "tar" / "a.tar", "w") as archive:
        archive.add(source, "./set")
    return tmp_path


@pytest.mark.parametrize("form", ["folder", "zip", "tar", "zip/a.zip", "tar/a.tar"])
def test_folders_and_archives_read_alike(tree, form, tiny_jpeg):
    with ManualFiles(tree / form) as files:
        assert files.folders(".") == ["set"]
        assert files.folders("set") == ["person"]
        assert files.files("set") == []
        assert files.frames("set/person") == ("set/person/f9.jpg", "set/person/f10.jpg", "set/person/f100.jpg")
        assert files.read("set/person/f9.jpg") == tiny_jpeg + b"9"
        assert files.find_folder(lambda names: "person" in names) == "set"
        assert files.find_file("f100.jpg") == "set/person/f100.jpg"
        assert files.find_file("f101.jpg") is None
        with pytest.raises(InputError, match=r"set/person/f8.jpg is missing"):
            files.read("set/person/f8.jpg")
        with pytest.raises(InputError, match="set has no frames"):
            files.frames("set")
        assert str(tree) in files.where("set/person/f9.jpg")


def test_what_lies_in_several_archives_is_one_tree(tree):
    (tree / "folder/set/person/f9.jpg").unlink()
    (tree / "zip/a.zip").rename(tree / "folder/a.zip")
    with ManualFiles(tree / "folder") as files:
        assert len(files.frames("set/person")) == 3
        assert "a.zip: set/person/f9.jpg" in files.where("set/person/f9.jpg")


def _cut(path):
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("spoil", "form", "message"),
    [
        (lambda r: _cut(r / "zip/a.zip"), "zip", "a.zip is not a readable zip archive .*fetch it again"),
        (lambda r: _cut(r / "tar/a.tar"), "tar", "a.tar is not a readable, uncompressed tar archive"),
        (lambda r: (r / "tar/a.tar").rename(r / "tar/a.tar.gz"), "tar", "a.tar.gz does not allow random access; unpack it"),
        (lambda r: (r / "tar/a.tar").rename(r / "tar/a.doc"), "tar/a.doc", "neither a folder nor a .zip or .tar file"),
        (lambda r: None, "nowhere", "nowhere does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_said_with_what_is_not_found(tree, spoil, form, message):
    spoil(tree)
    with pytest.raises(InputError, match=message), ManualFiles(tree / form) as files:
        files.read("set/person/f9.jpg")


def test_data_at_an_address_are_not_looked_for_here():
    with pytest.raises(InputError, match="manual_dir gs://bucket/mars is an address: copy the data into a folder"):
        ManualFiles("gs://bucket/mars")


def test_an_archive_of_another_dataset_beside_it_does_not_matter(tree, tiny_jpeg):
    _cut(tree / "zip/a.zip")
    (tree / "zip/a.zip").rename(tree / "folder/other.zip")
    (tree / "folder/another.tar.gz").write_bytes(b"a")
    with ManualFiles(tree / "folder") as files:
        assert files.read("set/person/f9.jpg") == tiny_jpeg + b"9"
        assert len(files.left_out) == 2
    with pytest.raises(InputError, match=r"^\S*other.zip is not a readable zip archive"):
        ManualFiles(tree / "folder/other.zip")


def test_a_damaged_file_in_a_zip_is_named(tree):
    path = tree / "zip/a.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 30] ^= 255
    path.write_bytes(data)
    with ManualFiles(path) as files:
        frames = files.frames("set/person")
        with pytest.raises(InputError, match=r"a.zip: set/person/f\d+.jpg cannot be read: Bad CRC"):
            b"".join(files.read(name) for name in frames)


@pytest.mark.parametrize("name", ["._x.jpg", ".DS_Store", "Thumbs.db", "__MACOSX", "desktop.ini"])
def test_litter(name):
    assert is_litter(name)


def test_frames_are_ordered_by_the_last_number_in_their_name():
    names = ["c1_f10.jpg", "c2_f9.jpg", "cover.jpg", "c1_f0100.jpg"]
    assert sorted(names, key=frame_order) == ["c2_f9.jpg", "c1_f10.jpg", "c1_f0100.jpg", "cover.jpg"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "empty file"),
        (lambda data: b"GIF89a", "neither JPEG nor PNG"),
        (lambda data: data[:-2], "cut short"),
        (lambda data: data[: len(data) // 2], "cut short"),
        (lambda data: data[:4] + data[-2:], "cut short|does not decode|does not state its size"),
    ],
)
def test_what_is_wrong_with_a_picture(tiny_jpeg, damage, message):
    import re

    assert pictures.fault(tiny_jpeg) is None
    assert pictures.fault(tiny_jpeg + b"\0\0") is None
    assert re.search(message, pictures.fault(damage(tiny_jpeg)))


def _with_size(file, size: bytes):
    """Write a size into the header of the first member of a tar file, with the checksum that fits."""
    data = bytearray(file.read_bytes())
    data[124:136], data[148:156] = size, b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    file.write_bytes(data)


@pytest.mark.parametrize(
    "size",
    [b"\xff" * 10 + b"\xfc\0", b"77777777777\0", b"\x80\0\0\0\x40" + bytes(7)],
    ids=["negative", "octal", "binary"],
)
def test_a_tar_whose_sizes_cannot_be_is_refused(tmp_path, tiny_jpeg, size):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("a.jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(tiny_jpeg)
            archive.addfile(info, io.BytesIO(tiny_jpeg))
    _with_size(tmp_path / "a.tar", size)
    with pytest.raises(InputError, match=r"a.tar is not a readable, uncompressed tar archive \(.*\); fetch it again"):
        ManualFiles(tmp_path / "a.tar")


def _tar_of(tree, *links):
    """Pack the three pictures again, with links (name, type, target) behind them."""
    with tarfile.open(tree / "tar/a.tar", "w") as archive:
        archive.add(tree / "folder/set", "./set")
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return tree / "tar"


def test_a_hard_link_in_a_tar_is_the_file_that_it_leads_to(tree, tiny_jpeg):
    os.link(tree / "folder/set/person/f9.jpg", tree / "folder/set/person/f11.jpg")
    root = _tar_of(tree, ("set/other/f1.jpg", tarfile.LNKTYPE, "./set/person/f11.jpg"),
        ("set/._f1.jpg", tarfile.SYMTYPE, "gone"), ("__MACOSX/f1.jpg", tarfile.LNKTYPE, "gone"),
    )  # fmt: skip
    with ManualFiles(root) as files:
        assert [name.rpartition("/")[2] for name in files.frames("set/person")] == [
            "f9.jpg",
            "f10.jpg",
            "f11.jpg",
            "f100.jpg",
        ]
        for name in ("set/person/f9.jpg", "set/person/f11.jpg", "set/other/f1.jpg"):
            assert files.read(name) == tiny_jpeg + b"9"


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (
            ("set/person/f11.jpg", tarfile.SYMTYPE, "f9.jpg"),
            "a.tar has set/person/f11.jpg as a symbolic link only; pack",
        ),
        (
            ("set/person/f11.jpg", tarfile.LNKTYPE, "set/f9.jpg"),
            r"a.tar is not .*a link leads to 'set/f9.jpg', which is not",
        ),
        (
            ("set/person/f11.jpg", tarfile.LNKTYPE, "where/f9.jpg"),
            "a link leads to 'where/f9.jpg', which is not packed",
        ),
        (("set/person/f11.jpg", tarfile.LNKTYPE, "set"), "a link leads to 'set', which is not packed before it"),
    ],
)
def test_a_link_in_a_tar_to_what_is_not_there_is_not_passed_over(tree, link, message):
    with pytest.raises(InputError, match=message):
        ManualFiles(_tar_of(tree, link) / "a.tar")


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("vreid_jax.datasets.manual.files._LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.jpg", bytes(1001))
    with (
        ManualFiles(tmp_path) as files,
        pytest.raises(InputError, match=r"a.zip: large.jpg has 1,001 bytes; a picture"),
    ):
        files.read("large.jpg")


def test_a_zip_that_packs_in_an_unknown_way_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", b"a")
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"))
    with ManualFiles(tmp_path) as files, pytest.raises(InputError, match=r"a.zip: a.jpg cannot be read: .*compression"):
        files.read("a.jpg")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with (
        ManualFiles(tmp_path) as files,
        pytest.raises(InputError, match=r"a.jpg cannot be read: it is not a regular file"),
    ):
        files.picture("a.jpg")


@pytest.mark.parametrize("root", ["~nouser/data", "a" * 300, "a\0b"])
def test_a_path_that_cannot_be_is_refused(root):
    with pytest.raises(InputError, match=r"the path .* (names a user|cannot be used)"):
        ManualFiles(root)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pid": 2**63}, "set/a: the number of the person or the camera is too large"),
        ({"tracklet_id": os.fsdecode(b"a\xff")}, "'set/a': the name of a tracklet must be UTF-8"),
    ],
)
def test_a_tracklet_has_what_a_record_can_hold(fields, words):
    with pytest.raises(InputError, match=words):
        Tracklet(**{"tracklet_id": "a", "pid": 1, "camid": 1, "frames": ("set/a/1.jpg",), **fields})
