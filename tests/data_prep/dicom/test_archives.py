"""Zip files: what is in them, and those that are damaged, hostile or too large."""

from __future__ import annotations

import zipfile

import pytest
from support.helpers import one_line

from data_prep.dicom import archives
from data_prep.dicom.archives import unpacked
from data_prep.errors import InputError


def write(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_no_name_leads_elsewhere_and_nothing_stays(tmp_path):
    inner = write(tmp_path / "inner.zip", {"deep/c.dcm": b"3"})
    path = write(
        tmp_path / "a.zip",
        {"../../x.dcm": b"1", "/etc/b": b"2", "dir/": b"", "n.ZIP": inner.read_bytes(), "a.averylongending": b"4"},
    )
    with unpacked(path) as folder:
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert files == {"000000.dcm": b"1", "000001": b"2", "000002/000000.dcm": b"3", "000003.averylo": b"4"}
    assert not folder.exists() and not (tmp_path.parent / "x.dcm").exists()


def test_damaged_and_too_large_ones_are_refused(tmp_path, monkeypatch):
    whole = write(tmp_path / "a.zip", {f"{n}.dcm": bytes(1000) for n in range(4)})
    content = whole.read_bytes()
    damaged = {
        "cut off": content[:-30],
        "no zip": b"text",
        "empty": b"",
        "altered": content.replace(b"0.dcm", b"1.dcm", 1),
    }
    for what, data in damaged.items():
        whole.write_bytes(data)
        with pytest.raises(InputError, match="cannot be unzipped") as caught, unpacked(whole):
            pytest.fail(what)
        assert caught.value.path == whole and caught.value.code == "damaged" and one_line(caught)
    whole.write_bytes(content)
    for name, most, words in (("MOST_FILES", 3, "holds 4 files"), ("LARGEST_BYTES", 3999, "holds more than")):
        with monkeypatch.context() as patched:
            patched.setattr(archives, name, most)
            with pytest.raises(InputError, match=words), unpacked(whole):
                pytest.fail(name)
    with unpacked(whole) as folder:
        assert len(list(folder.iterdir())) == 4
    with pytest.raises(InputError, match="cannot be read"), unpacked(tmp_path / "gone.zip"):
        pytest.fail("is gone")


def test_a_cut_off_one_is_not_taken_for_a_zip_file_in_it(tmp_path):
    inner = write(tmp_path / "inner.zip", {"a.dcm": b"1"}).read_bytes()
    path = tmp_path / "outer.zip"
    with zipfile.ZipFile(path, "w") as archive:  # stored: the directory of the inner one can be found
        archive.writestr("lost.dcm", b"2")
        archive.writestr("inner.zip", inner)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot be unzipped"), unpacked(path):
        pytest.fail("cut off")


@pytest.mark.parametrize(
    ("offsets", "flip", "words"),
    [
        ((6, 8), 1, "is encrypted; expected a zip file without a password; unpack it"),
        ((8, 10), 8 ^ 93, "is compressed in a way that is not read; unpack it"),  # 8: deflated, 93: Zstandard
    ],
)
def test_one_that_is_not_damaged_is_not_called_so(tmp_path, offsets, flip, words):
    path = write(tmp_path / "a.zip", {"DOE_JANE.dcm": b"12345"})
    data = bytearray(path.read_bytes())
    for mark, offset in zip((b"PK\x03\x04", b"PK\x01\x02"), offsets, strict=True):  # a field of both headers
        data[data.index(mark) + offset] ^= flip
    path.write_bytes(bytes(data))
    with pytest.raises(InputError) as caught, unpacked(path):
        pytest.fail(words)
    assert str(caught.value) == f"{path}: {words}" and caught.value.code == "input"


def test_errors_quote_no_name_of_a_file_in_it(tmp_path):
    path = write(tmp_path / "a.zip", {"DOE_JANE.dcm": b"12345" * 9})
    whole = path.read_bytes()
    for place in (b"JANE", bytes.fromhex("504b0102")):  # a name in one of both headers; the checksum
        data = bytearray(whole)
        data[whole.index(place) + (1 if place == b"JANE" else 16)] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(InputError, match=r"cannot be unzipped \(.*\.\.\.") as caught, unpacked(path):
            pytest.fail("damaged")
        assert "JANE" not in str(caught.value) and "DOE" not in str(caught.value)


def test_what_is_zipped_deeper_than_three_times_stays_zipped(tmp_path):
    path = write(tmp_path / "0.zip", {"a": b"1"})
    for level in range(1, 4):
        path = write(tmp_path / f"{level}.zip", {"b.zip": path.read_bytes()})
    with unpacked(path) as folder:
        assert [file.suffix for file in folder.rglob("*") if file.is_file()] == [".zip"]
