"""What a file is, told by its content, and a picture without what the camera wrote into it. Pure.

Photos carry where and when they were taken and by which device; customers do not mean to tell the
shop. Whatever lies behind the end of a picture goes too, so nothing can hide there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chassis.errors import Invalid

EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "application/pdf": "pdf",
}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TELLTALE = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"})
_EXIF = b"Exif\x00\x00"
# In the picture's data a marker is 0xFF and something that is neither stuffing nor a restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JFIF, _EXIF_OR_XMP, _ICC, _ADOBE = 0xE0, 0xE1, 0xE2, 0xEE
_SCAN, _END, _COMMENT = 0xDA, 0xD9, 0xFE
_ORIENTATION = 0x0112


class UnknownContent(Invalid):
    """Neither of the types that are taken."""

    def __init__(self) -> None:
        super().__init__("unknown_content", "Send a PNG, JPEG or WebP picture, or a PDF document")


class BrokenContent(Invalid):
    """It begins like a picture and is none."""

    def __init__(self, *, kind: str) -> None:
        super().__init__(
            "broken_content", f"The file begins like {kind} but cannot be read as such"
        )


@dataclass(frozen=True)
class Content:
    """Bytes as they are kept, and what they are."""

    content_type: str
    data: bytes


def content_of(data: bytes) -> Content:
    """What was sent, cleaned. Raises UnknownContent, BrokenContent."""
    try:
        if data.startswith(_PNG):
            return Content("image/png", _png(data))
        if data.startswith(b"\xff\xd8\xff"):
            return Content("image/jpeg", _jpeg(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return Content("image/webp", _webp(data))
    except (IndexError, ValueError):
        raise BrokenContent(kind="a picture") from None
    if data.startswith(b"%PDF-"):
        if b"%%EOF" not in data[-1024:]:
            raise BrokenContent(kind="a PDF document")
        return Content("application/pdf", data)
    raise UnknownContent


def safe_name(*, given: str, content_type: str) -> str:
    """A name for people: without folders and control signs, with the ending of what it is."""
    base = re.split(r"[/\\]", given)[-1]
    base = "".join(sign for sign in base if sign.isprintable()).strip(" .")
    stem = base.rpartition(".")[0] or base
    return f"{stem[:80].strip() or 'file'}.{EXTENSIONS[content_type]}"


def _taken(data: bytes, at: int, size: int) -> bytes:
    """So many bytes from there. Raises ValueError when the file ends before."""
    piece = data[at : at + size]
    if size < 0 or len(piece) != size:
        raise ValueError
    return piece


# ------------------------------------------------------------------ PNG


def _png(data: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    while True:
        size = int.from_bytes(_taken(data, at, 4), "big")
        kind = _taken(data, at + 4, 4)
        chunk = _taken(data, at, size + 12)
        if len(kept) == 1 and kind != b"IHDR":
            raise ValueError
        if kind not in _PNG_TELLTALE:
            kept.append(chunk)
        if kind == b"IEND":
            return b"".join(kept)
        at += size + 12


# ------------------------------------------------------------------ WebP


def _webp(data: bytes) -> bytes:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < 20:
        raise ValueError
    kept, at = [], 12
    while at < end:
        kind = _taken(data, at, 4)
        size = int.from_bytes(_taken(data, at + 4, 4), "little")
        chunk = _taken(data, at, 8 + size + size % 2)
        if kind == b"VP8X":
            # Its flags must not promise what is left out: XMP 0x04, EXIF 0x08.
            chunk = chunk[:8] + bytes([chunk[8] & ~0x0C]) + chunk[9:]
        if kind not in (b"EXIF", b"XMP "):
            kept.append(chunk)
        at += len(chunk)
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


# ------------------------------------------------------------------ JPEG


def _jpeg(data: bytes) -> bytes:
    orientation = 1
    kept = []
    for marker, segment in _segments(data):
        if marker == _EXIF_OR_XMP and segment[4:10] == _EXIF and orientation == 1:
            orientation = _orientation(segment[10:])
        if _belongs_to_the_picture(marker, segment):
            kept.append(segment)
    if not kept or kept[-1] != b"\xff\xd9":
        raise ValueError
    return b"\xff\xd8" + _only_orientation(orientation) + b"".join(kept)


def _belongs_to_the_picture(marker: int, segment: bytes) -> bool:
    """Not what applications and people wrote into it, but for what colors need."""
    if marker == _ICC:
        return segment[4:15] == b"ICC_PROFILE"
    return marker in (_JFIF, _ADOBE) or not (0xE0 <= marker <= 0xEF or marker == _COMMENT)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each part, the picture's data with the scan it belongs to."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == _END:
            yield marker, data[at : at + 2]
            return
        size = 2 + int.from_bytes(_taken(data, at + 2, 2), "big")
        end = at + size
        _taken(data, at, size)
        if marker == _SCAN:
            found = _MARKER.search(data, end)
            if found is None:
                raise ValueError
            end = found.start()
        yield marker, data[at:end]
        at = end


def _orientation(tiff: bytes) -> int:
    """Which way up the picture is, 1 to 8; 1 when it is not said."""
    if tiff[:2] not in (b"II", b"MM"):
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if tiff[:2] == b"II" else "big")

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * min(number(first, 2), 200), 12):
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def _only_orientation(value: int) -> bytes:
    """An Exif segment that says which way up, and nothing else; none for what is upright."""
    if value == 1:
        return b""
    entry = _ORIENTATION.to_bytes(2, "big") + b"\x00\x03" + (1).to_bytes(4, "big")
    directory = (1).to_bytes(2, "big") + entry + value.to_bytes(2, "big") + b"\x00\x00"
    tiff = b"MM\x00\x2a" + (8).to_bytes(4, "big") + directory + (0).to_bytes(4, "big")
    size = 2 + len(_EXIF) + len(tiff)
    return b"\xff\xe1" + size.to_bytes(2, "big") + _EXIF + tiff
