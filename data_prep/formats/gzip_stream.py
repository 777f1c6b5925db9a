"""The bytes of a compressed file, inflated piece by piece to the end, with the checksum compared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Literal, cast

from isal import igzip, igzip_lib

from data_prep.errors import InputError, raise_if_out_of_memory

Encoding = Literal["raw", "gzip", "zlib", "deflate"]

LARGEST_RATIO = 1032  # deflate's: 258 bytes from two bits
AGAIN = "copy or download it again"
GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 20
_PIECE_BYTES = 1 << 22
_MOST_IDLE = 1 << 22  # compressed bytes without one byte of data, such as empty members of gzip
_IsalError = cast(type[Exception], igzip_lib.IsalError)  # the stub declares an instance


class ByteStream:
    """The bytes of an open file from its position on, inflated according to `encoding`.

    At most a small buffer is inflated ahead of what is read, so a file that would inflate to terabytes needs no more
    memory than any other. Gzip members may follow each other, and zeros may follow the last, as in gzip itself; more
    than 4 MiB that hold no data are refused. Every error is an InputError with `path` and the code `truncated` or
    `damaged`.
    """

    def __init__(self, file: BinaryIO, encoding: Encoding, path: Path) -> None:
        self._path, self._encoding = path, encoding
        self._source = _Watched(file)
        if encoding == "gzip":
            self._file = cast(BinaryIO, igzip.open(self._source))
        else:
            self._file = file if encoding == "raw" else cast(BinaryIO, _ZlibFile(self._source, encoding))

    def read_into(self, target: memoryview) -> int:
        """Fill `target` (bytes) and return the number of bytes: fewer only at the end of intact data."""
        done = 0
        try:
            while done < len(target):
                piece = target[done : done + _READ_BYTES]  # not more: data that do not shrink are as long compressed
                if not (count := self._file.readinto(piece)):  # type: ignore[attr-defined]
                    break
                done += count
                self._source.idle = 0
        except EOFError:
            detail = f"the file is truncated (its {self._encoding} stream has no end); {AGAIN}"
            raise InputError(detail, self._path, "truncated") from None
        except (OSError, OverflowError, _IsalError) as error:  # wrong checksum or length, other bytes after the end
            raise_if_out_of_memory(error, self._path)
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise InputError(f"the file is damaged ({why}); {AGAIN}", self._path, "damaged") from None
        return done

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only at the end."""
        buffer = bytearray(count)
        return bytes(buffer[: self.read_into(memoryview(buffer))])

    def skip(self, count: int) -> int:
        """Skip `count` bytes and return the number of bytes, fewer only at the end."""
        done = 0
        while done < count and (piece := self.read(min(_READ_BYTES, count - done))):
            done += len(piece)
        return done

    def finish(self, slack: int) -> None:
        """Read a compressed stream to its end, which compares its checksum; refuse more than `slack` further bytes.

        Bytes after the data of an uncompressed file are ignored.
        """
        if self._encoding != "raw" and self.skip(slack + 1) > slack:
            detail = f"inflates to more than its header says, by over {slack} bytes; expected only the voxels; {AGAIN}"
            raise InputError(detail, self._path, "damaged")


class _Watched(io.RawIOBase):
    """A compressed file to read; OSError after `_MOST_IDLE` bytes since `idle` was last set to 0."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.idle = file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        if self.idle > _MOST_IDLE:
            raise OSError(f"over {_MOST_IDLE >> 20} MiB of it hold no data")
        count: int = self._file.readinto(target)  # type: ignore[attr-defined]
        self.idle += count
        return count


class _ZlibFile(io.RawIOBase):
    """A zlib stream as a file, whose end compares the checksum, or the same without checksum (`deflate`)."""

    def __init__(self, file: io.RawIOBase, encoding: Encoding) -> None:
        flag = igzip_lib.DECOMP_DEFLATE if encoding == "deflate" else igzip_lib.DECOMP_ZLIB
        self._file, self._inflater = file, igzip_lib.IgzipDecompressor(flag)

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        while not self._inflater.eof:
            following = self._file.read(_READ_BYTES) or b"" if self._inflater.needs_input else b""
            if self._inflater.needs_input and not following:
                raise EOFError
            if piece := self._inflater.decompress(following, min(len(target), _PIECE_BYTES)):
                target[: len(piece)] = piece
                return len(piece)
        return 0
