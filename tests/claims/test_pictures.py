"""What is taken as evidence, and that a photo does not tell where its owner lives."""

from __future__ import annotations

import zlib

import pytest

from services.claims.pictures import BrokenContent, UnknownContent, content_of, safe_name

SECRET = b"GPS 46.05 14.51 Ana's phone"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    check = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + check


def png(*extra: bytes) -> bytes:
    """One grey pixel."""
    head = chunk(b"IHDR", bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]))
    data = chunk(b"IDAT", zlib.compress(b"\x00\x80"))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + data + chunk(b"IEND", b"")


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG file."""
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def exif(orientation: int = 1, *, order: str = "big") -> bytes:
    """What a camera writes: which way up, and everything else."""
    mark = b"MM\x00\x2a" if order == "big" else b"II\x2a\x00"

    def n(value: int, size: int) -> bytes:
        return value.to_bytes(size, "big" if order == "big" else "little")

    entry = n(0x0112, 2) + n(3, 2) + n(1, 4) + n(orientation, 2) + b"\x00\x00"
    return b"Exif\x00\x00" + mark + n(8, 4) + n(1, 2) + entry + n(0, 4) + SECRET


def jpeg(*extra: bytes, behind: bytes = b"") -> bytes:
    """The skeleton of one: two scans, stuffing, a restart."""
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + b"\x12\xff\x00\x34\xff\xd0\x56"
    parts = (*extra, segment(0xDB, b"\x00" * 65), scan, segment(0xC4, b"\x00" * 18), scan)
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9" + behind


def webp(*extra: bytes) -> bytes:
    """A RIFF file with one chunk of picture."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return kind + len(data).to_bytes(4, "little") + data + b"\x00" * (len(data) % 2)

    flags = piece(b"VP8X", bytes([0x0C]) + b"\x00" * 9)
    body = b"WEBP" + flags + piece(b"VP8 ", b"pixel") + b"".join(piece(*each) for each in extra)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


PDF = b"%PDF-1.7\n1 0 obj\nendobj\ntrailer\n%%EOF\n"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(), "image/png"),
        (jpeg(), "image/jpeg"),
        (webp(), "image/webp"),
        (PDF, "application/pdf"),
    ],
)
def test_what_says_nothing_of_its_owner_is_kept_as_it_is(data: bytes, kind: str) -> None:
    content = content_of(data)
    assert content.content_type == kind
    assert len(content.data) == len(data)


@pytest.mark.parametrize(
    "data",
    [
        png(chunk(b"eXIf", SECRET), chunk(b"tEXt", SECRET), chunk(b"iTXt", SECRET)),
        png() + SECRET,
        jpeg(segment(0xE1, exif())),
        jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + SECRET)),
        jpeg(segment(0xED, SECRET), segment(0xFE, SECRET), segment(0xE2, b"MPF\x00" + SECRET)),
        jpeg(behind=SECRET),
        webp((b"EXIF", SECRET), (b"XMP ", SECRET)),
        webp() + SECRET,
    ],
)
def test_what_a_camera_wrote_is_taken_out_and_the_picture_stays(data: bytes) -> None:
    content = content_of(data)
    assert SECRET not in content.data
    assert content.data in {png(), jpeg(), webp().replace(b"\x0c", b"\x00", 1)} or (
        content.content_type == "image/webp" and len(content.data) == len(webp())
    )
    # Cleaned once, there is nothing left to clean.
    assert content_of(content.data) == content


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photo_stays_the_right_way_up(orientation: int, order: str) -> None:
    data = content_of(jpeg(segment(0xE1, exif(orientation, order=order)))).data
    assert SECRET not in data
    assert data == jpeg(segment(0xE1, exif(orientation)[: -len(SECRET)]))


def test_colors_stay_what_they_are() -> None:
    profile = segment(0xE2, b"ICC_PROFILE\x00" + b"colors")
    jfif, adobe = segment(0xE0, b"JFIF\x00" + b"\x01" * 9), segment(0xEE, b"Adobe" + b"\x00" * 7)
    data = jpeg(jfif, profile, adobe)
    assert content_of(data).data == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><script>alert(1)</script>",
        b"GIF89a\x01\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"PK\x03\x04",
        b"MZ\x90\x00",
        b" %PDF-1.7 %%EOF",
    ],
)
def test_what_is_no_picture_and_no_document_is_refused_whatever_it_is_called(data: bytes) -> None:
    with pytest.raises(UnknownContent):
        content_of(data)


@pytest.mark.parametrize(
    "whole", [png(), jpeg(), jpeg(segment(0xE1, exif(6))), webp(), PDF], ids=lambda data: data[:4]
)
def test_whatever_was_cut_off_is_refused_and_never_trips(whole: bytes) -> None:
    for end in range(1, len(whole) - 1):
        with pytest.raises((BrokenContent, UnknownContent)):
            content_of(whole[:end])


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ("mug.jpg", "image/jpeg", "mug.jpg"),
        ("../../etc/passwd", "image/png", "passwd.png"),
        ("C:\\photos\\mug.exe", "image/png", "mug.png"),
        ("evil.html", "application/pdf", "evil.pdf"),
        ("", "image/webp", "file.webp"),
        ("...", "image/webp", "file.webp"),
        ("a\r\nSet-Cookie: x.png", "image/png", "aSet-Cookie: x.png"),
        ("žlička.jpeg", "image/jpeg", "žlička.jpg"),
        ("x" * 300, "image/png", "x" * 80 + ".png"),
    ],
)
def test_a_name_is_for_people_and_ends_as_what_it_is(given: str, kind: str, name: str) -> None:
    assert safe_name(given=given, content_type=kind) == name
