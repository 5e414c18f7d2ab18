"""The content decides what a file is: sound pictures are used, others are named for what they are."""

import random
import struct
import zlib
from pathlib import Path, PurePath

import numpy as np
import pytest
from odd_inputs import chunk, encoded, figure
from PIL import Image

from lora_core.errors import ImageError
from lora_core.images import kinds
from lora_core.images.collect import collect
from lora_core.images.decode import decode, header_of
from lora_core.images.kinds import HEAD_BYTES, MEANT_BY, kind_of, may_be_picture, read_kinds, why_not_used
from lora_core.images.png_chunks import colours_by_code_points

CASES = Path(__file__).parents[1] / "golden/cases"
_SMALL = figure(1, (60, 40))
_WRITTEN = {
    "PNG": encoded(_SMALL),
    "JPEG": encoded(_SMALL.convert("RGB"), "JPEG"),
    "WEBP": encoded(_SMALL, "WEBP"),
    "BMP": encoded(_SMALL.convert("RGB"), "BMP"),
    "GIF": encoded(_SMALL.convert("RGB"), "GIF"),
    "TIFF": encoded(_SMALL, "TIFF"),
    "AVIF": encoded(_SMALL, "AVIF"),
}
_NOT_READ = {
    "JPEG XR": b"II\xbc\x01",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "PSD": b"8BPS\0\1",
    "OpenEXR": b"\x76\x2f\x31\x01",
    "QOI": b"qoif",
    "Radiance HDR": b"#?RADIANCE\n",
}


@pytest.mark.parametrize("kind", _WRITTEN)
def test_a_kind_is_known_by_its_content_under_every_name(kind, store, screenshots):
    assert kind_of(_WRITTEN[kind][:HEAD_BYTES]) == kind
    for number, ending in enumerate((*MEANT_BY, ".Unknown", "")):
        (screenshots / f"shot {number}{ending}").write_bytes(_WRITTEN[kind])
    manifest = collect(store, screenshots)
    assert len(manifest.entries) == 1  # the others are the same, byte for byte
    assert all("byte for byte" in one.reason for one in manifest.rejected)


@pytest.mark.parametrize("kind", _NOT_READ)
def test_a_kind_that_is_not_read_is_told_under_every_name(kind, store, screenshots, shot):
    shot("good.png")
    names = [f"shot{ending}" for ending in (".png", ".jpg", ".webp", ".unknown", "")]
    for number, name in enumerate(names):
        (screenshots / name).write_bytes(_NOT_READ[kind] + bytes([number]) * 99)
    told = {one.source: one for one in collect(store, screenshots).rejected}
    assert set(told) == set(names)
    assert not any(one.harmless for one in told.values())
    assert all(kinds.named(kind) in one.reason and "save it as PNG" in one.reason for one in told.values())


def test_brands_tell_avif_from_heic_and_from_a_film():
    def boxed(*brands: bytes) -> bytes:
        body = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
        return struct.pack(">I", len(body) + 4) + body + bytes(64)

    assert kind_of(boxed(b"mif1", b"mif1", b"avif", b"miaf")) == "AVIF"
    assert kind_of(boxed(b"mif1", b"heic", b"mif1")) == "HEIF"
    assert kind_of(boxed(b"isom", b"isom", b"mp42")) == ""


def test_what_editors_and_downloads_leave_is_harmless_and_a_raw_photograph_is_not():
    head = _WRITTEN["PNG"][:HEAD_BYTES]
    assert why_not_used(PurePath("a.png.bak"), head).harmless
    assert why_not_used(PurePath("a.clip"), b"CSFCHUNK").harmless
    assert why_not_used(PurePath("notes.md"), b"# Notes").harmless
    raw = why_not_used(PurePath("a.dng"), b"II*\0" + bytes(60))  # a TIFF by its first bytes
    assert raw.reason == ".dng is not read; save it as PNG"
    assert not raw.harmless
    assert why_not_used(PurePath("a"), head) is None
    assert may_be_picture(PurePath("a"))
    assert not may_be_picture(PurePath(".DS_Store"))


def test_random_first_bytes_under_random_names_never_fail():
    chance = random.Random(7)
    heads = [*(data[:HEAD_BYTES] for data in (*_WRITTEN.values(), *_NOT_READ.values())), b""]
    for _ in range(4000):
        head = bytearray(chance.choice(heads))
        for _ in range(chance.randint(0, 4) if head else 0):
            head[chance.randrange(len(head))] = chance.randrange(256)
        name = PurePath("shot" + chance.choice((*MEANT_BY, ".psd", ".exr", ".bak", "", ".", ".äöü")))
        found = why_not_used(name, bytes(head)[: chance.randint(0, HEAD_BYTES)])
        assert found is None or (found.reason and "\n" not in found.reason)


@pytest.mark.parametrize("name", ["upper_body_text_3MB_zTXt.png", "upper_body_icc_2MB.png"])
def test_a_sound_png_is_used_however_much_text_or_profile_it_carries(name):
    data = (CASES / name).read_bytes()
    assert decode(data, name).image.size == (420, 300)
    assert header_of(CASES / name, name)[:2] == (420, 300)


def test_texts_of_every_kind_leave_the_pixels_as_they_are_and_a_profile_that_unpacks_without_end_is_noted():
    plain = _WRITTEN["PNG"]
    bomb = zlib.compress(bytes(40 << 20), 9)
    for kind, body in {
        b"tEXt": b"parameters\0" + b"1girl, " * 400_000,
        b"zTXt": b"parameters\0\0" + bomb,
        b"iTXt": b"parameters\0\1\0\0\0" + bomb,
    }.items():
        for at in (33, len(plain) - 12):  # before the pixels, and after them
            decoded = decode(plain[:at] + chunk(kind, body) + plain[at:], "x")
            assert decoded.image.tobytes() == _SMALL.tobytes()
            assert decoded.notes == ()
    decoded = decode(plain[:33] + chunk(b"iCCP", b"huge\0\0" + bomb) + plain[33:], "x")
    assert decoded.image.tobytes() == _SMALL.tobytes()
    assert decoded.notes == ("its colour profile is too large to be one: taken as sRGB",)


@pytest.mark.parametrize(
    ("chunks", "colours"),
    [
        ([(b"cICP", bytes((9, 16, 0, 1)))], "HDR (PQ, BT.2020)"),
        ([(b"cICP", bytes((9, 18, 0, 1)))], "HDR (HLG, BT.2020)"),
        ([(b"cICP", bytes((12, 13, 0, 1)))], "Display P3"),
        ([(b"cICP", bytes((1, 13, 0, 1)))], ""),
        ([(b"gAMA", struct.pack(">I", 100_000))], "linear (gamma 1.0)"),
        ([(b"gAMA", struct.pack(">I", 55_556))], "of gamma 0.556"),
        ([(b"gAMA", struct.pack(">I", 45_455))], ""),
        ([(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0")], ""),
        ([(b"gAMA", b"")], ""),
    ],
)
def test_colours_that_are_not_srgb_are_flagged(chunks, colours):
    data = _WRITTEN["PNG"]
    decoded = decode(data[:33] + b"".join(chunk(*each) for each in chunks) + data[33:], "x")
    assert [flag.values for flag in decoded.flags] == ([(colours,)] if colours else [])


def test_an_hdr_avif_is_flagged_by_its_box():
    data = bytearray(_WRITTEN["AVIF"])
    at = data.find(b"colrnclx")
    assert at > 0
    data[at + 8 : at + 12] = struct.pack(">HH", 9, 16)
    assert [flag.values for flag in decode(bytes(data), "x").flags] == [("HDR (PQ, BT.2020)",)]
    assert decode(_WRITTEN["AVIF"], "x").flags == ()
    assert colours_by_code_points(2, 2) == ""


@pytest.mark.parametrize("width", [16, 160, 416, 1616])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_bmp_has_eight_bits_a_channel_whatever_its_width(width, mode):
    decoded = decode(encoded(Image.new(mode, (width, 16), "red"), "BMP"), "x")
    assert decoded.notes == ()


@pytest.mark.parametrize(("kind", "ending"), [("HEIF", ".heic"), ("JXL", ".jxl")])
def test_a_plugin_that_is_installed_is_used_under_every_name(kind, ending, store, screenshots):
    if kind not in read_kinds():
        pytest.skip("no plugin installed")
    on_white = Image.new("RGBA", (300, 200), "white")
    on_white.alpha_composite(figure(2, (300, 200)))
    (screenshots / f"a{ending}").write_bytes(encoded(on_white.convert("RGB"), kind))
    (screenshots / "b.jpg").write_bytes(encoded(on_white.convert("RGB").transpose(0), kind))
    manifest = collect(store, screenshots)
    assert [entry.source for entry in manifest.entries] == [f"a{ending}", "b.jpg"]
    decoded = np.asarray(decode((screenshots / "b.jpg").read_bytes(), "b.jpg").image).astype(int)
    assert np.abs(decoded - np.asarray(on_white.convert("RGB").transpose(0))).mean() < 4


def test_without_its_plugin_a_kind_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr("lora_core.images.decode.read_kinds", lambda: kinds.BUILT_IN)
    monkeypatch.setattr(kinds, "read_kinds", lambda: kinds.BUILT_IN)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    says = "a HEIC file, although its name ends in .jpg; `pip install pillow-heif` has it read; or save it as PNG"
    assert why_not_used(PurePath("a.jpg"), heic[:HEAD_BYTES]).reason == says
    with pytest.raises(ImageError, match="a HEIC file, although"):
        decode(heic, "a.jpg")
