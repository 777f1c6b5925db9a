"""The bytes of a compressed file, inflated once: piece by piece, to the end, with the checksum compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from data_prep.errors import InputError

if TYPE_CHECKING:
    from isal.igzip_lib import IgzipDecompressor

Encoding = Literal["raw", "gzip", "zlib"]

LARGEST_RATIO = 1032  # deflate's: 258 bytes from two bits
AGAIN = "copy or download it anew"
GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 1 << 20
_PIECE_BYTES = 1 << 22


class ByteStream:
    """The bytes of an open file from where it stands, inflated if `encoding` says so.

    Nothing is inflated ahead of what is asked for, so a file that would inflate to terabytes takes no more memory than
    one that does not. Every error is an InputError that names `path`.
    """

    def __init__(self, file: BinaryIO, encoding: Encoding, path: Path) -> None:
        self._file = file
        self._path = path
        self._encoding = encoding
        self._inflater: IgzipDecompressor | None = None if encoding == "raw" else self._new_inflater()

    def read_into(self, target: memoryview) -> int:
        """Fill `target` (bytes) and return how many there were: fewer only where the data end, in good order."""
        done = 0
        while done < len(target):
            if self._inflater is None:
                count = self._file.readinto(target[done:])  # type: ignore[attr-defined]
            else:
                piece = self._inflate(self._inflater, len(target) - done)
                count = len(piece)
                target[done : done + count] = piece
            if not count:
                break
            done += count
        return done

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only where the data end."""
        buffer = bytearray(count)
        return bytes(buffer[: self.read_into(memoryview(buffer))])

    def skip(self, count: int) -> int:
        """Pass over `count` bytes and return how many there were."""
        done = 0
        while done < count and (piece := self.read(min(_READ_BYTES, count - done))):
            done += len(piece)
        return done

    def finish(self, slack: int) -> None:
        """Read a compressed stream to its end, which compares its checksum; refuse more than `slack` further bytes.

        What follows the data of a file that is not compressed is left alone.
        """
        if self._inflater is not None and self.skip(slack + 1) > slack:
            raise InputError(
                f"{self._path}: inflates to more than its header says, by over {slack} bytes; expected the voxels "
                f"and no more; {AGAIN}"
            )

    def _new_inflater(self) -> IgzipDecompressor:
        from isal import igzip_lib

        flag = igzip_lib.DECOMP_GZIP if self._encoding == "gzip" else igzip_lib.DECOMP_ZLIB
        return igzip_lib.IgzipDecompressor(flag)

    def _inflate(self, inflater: IgzipDecompressor, most: int) -> bytes:
        """Return 1 to `most` bytes, b"" at the end of the last member."""
        from isal import igzip_lib

        most = min(most, _PIECE_BYTES)
        try:
            while True:
                following = b""
                if inflater.eof:
                    following = self._next_member(inflater.unused_data)
                    if not following:
                        return b""
                    self._inflater = inflater = self._new_inflater()
                elif inflater.needs_input:
                    following = self._file.read(_READ_BYTES)
                    if not following:
                        raise InputError(
                            f"{self._path}: the file is truncated (its {self._encoding} stream has no end); {AGAIN}"
                        )
                if piece := inflater.decompress(following, most):
                    return piece
        except cast(type[Exception], igzip_lib.IsalError) as error:  # the stub says: instance
            raise InputError(f"{self._path}: the file is damaged ({error}); {AGAIN}") from None

    def _next_member(self, rest: bytes) -> bytes:
        """Return the first bytes of the gzip member that follows the one just ended, b"" if none does.

        rest: what came after its end, as far as it was read. As gzip itself does: members may follow each other, zeros
        may pad the last.
        """
        if self._encoding != "gzip":
            return b""
        rest = rest.lstrip(b"\0")
        while len(rest) < len(GZIP_MAGIC) and (more := self._file.read(_READ_BYTES)):
            rest = (rest + more).lstrip(b"\0")
        if rest and not rest.startswith(GZIP_MAGIC):
            raise InputError(f"{self._path}: the file is damaged (bytes that are not gzip follow its end); {AGAIN}")
        return rest
