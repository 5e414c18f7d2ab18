"""Bad and odd inputs, one a row of docs/screenshots.md, and what each gets."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFilter

Fate = Literal["used", "flagged", "left out", "ignored", "stops"]
GOOD = "good.png"
SIZE = (420, 300)


@dataclass(frozen=True)
class Odd:
    """One row.

    Attributes:
        row: what the table calls it.
        fate: used (with a note), flagged (used, for a person to look at), left out (a reason to stop a run), ignored
            (nothing is lost), or the whole command stops.
        says: part of the note, flag, reason or error.
        name: of the file whose fate it is, below the folder.
        make: writes it into a folder in which there is a good picture.
    """

    row: str
    fate: Fate
    says: str
    name: str
    make: Callable[[Path], object]


def figure(seed: int = 0, size: tuple[int, int] = SIZE, shift: int = 0) -> Image.Image:
    """A figure that the lower edge cuts, soft edges, straight alpha; another seed is another picture."""
    chance = random.Random(seed)
    big = Image.new("RGBA", (size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(big)
    centre, height = size[0] + shift, size[1] * 2
    draw.rectangle((centre - 120, height * 0.55, centre + 120, height), fill=_colour(chance))
    draw.ellipse((centre - 100, height * 0.12, centre + 100, height * 0.6), fill="#f4e2a0")
    for _ in range(12):
        x, y = centre + chance.uniform(-0.9, 0.6) * 100, height * chance.uniform(0.25, 0.9)
        draw.ellipse((x, y, x + chance.uniform(10, 60), y + chance.uniform(10, 60)), fill=_colour(chance))
    return big.resize(size, Image.Resampling.BOX)


def _colour(chance: random.Random) -> tuple[int, int, int]:
    return chance.randrange(256), chance.randrange(256), chance.randrange(256)


def premultiplied(image: Image.Image) -> Image.Image:
    """As Honey Select 2 writes it: colour × alpha."""
    rgba = np.asarray(image).astype(np.float64)
    rgba[..., :3] *= rgba[..., 3:] / 255
    return Image.fromarray(np.rint(rgba).astype(np.uint8))


def on(colour: str, seed: int = 57) -> Image.Image:
    """The figure without transparency."""
    canvas = Image.new("RGBA", SIZE, colour)
    canvas.alpha_composite(figure(seed))
    return canvas.convert("RGB")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, pixels: bytes, *, bits: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """A PNG by hand: kinds that Pillow does not write, and headers that promise more than there is."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sixteen_bits(mode: Literal["RGB", "RGBA"]) -> bytes:
    values = np.asarray(figure(58).convert(mode)).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return png(*SIZE, rows, bits=16, colour={"RGB": 2, "RGBA": 6}[mode])


def swapped_profile() -> bytes:
    """An ICC profile in which red means green."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    table = {data[at : at + 4].decode(): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, green = table["rXYZ"], table["gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")


def _file(name: str, data: bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return make


def _odd(row: str, fate: Fate, says: str, name: str, data: bytes) -> Odd:
    return Odd(row, fate, says, name, _file(name, data))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _frames(kind: str, **options: object) -> bytes:
    return encoded(figure(59), kind, save_all=True, append_images=[figure(60), figure(61)], **options)


def _without_checksum() -> bytes:
    data = bytearray(encoded(figure()))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


_PNG = encoded(figure())


def _case(name: str) -> bytes:
    return (Path(__file__).parents[1] / "golden/cases" / name).read_bytes()


def _alpha(change: Callable[[np.ndarray], object], seed: int) -> bytes:
    """The figure with another alpha: `change` writes into the array of it, shape (H, W)."""
    rgba = np.asarray(figure(seed)).copy()
    change(rgba[..., 3])
    return encoded(Image.fromarray(rgba))


def _set(alpha: np.ndarray, value: object) -> None:
    alpha[...] = value


def _with_chunks(seed: int, *chunks: bytes) -> bytes:
    """A PNG with chunks before its pixels."""
    data = encoded(figure(seed))
    return data[:33] + b"".join(chunks) + data[33:]


def bmp_of_32_bits(image: Image.Image, alpha: int) -> bytes:
    """A BMP as Windows keeps it, with the masks of its four channels, from the lowest row up (BITMAPV4HEADER)."""
    rgba = np.asarray(image.convert("RGBA")).copy()
    rgba[..., 3] = alpha
    pixels = rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(52)
    return struct.pack("<2sIHHI", b"BM", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels


_NO_CUT_OUT = "its alpha is no cut-out"
_ALPHAS = (
    _odd(
        "alpha 0 everywhere, over colours",
        "left out",
        "its alpha is 0 over 126,000 of 126,000 pixels, so that nothing shows; export it again, or set",
        "zero_alpha.png",
        _case("upper_body_alpha_zero_but_colours.png"),
    ),
    _odd(
        "alpha 0 everywhere over colours, but for one pixel",
        "left out",
        "its alpha is 0 over 125,999 of 126,000 pixels",
        "nearly_zero.png",
        _alpha(lambda alpha: _set(alpha.reshape(-1)[1:], 0) or _set(alpha[:1, :1], 255), 62),
    ),
    _odd(
        "a 32-bit BMP whose alpha is 0",
        "left out",
        "its alpha is 0 over",
        "win.bmp",
        bmp_of_32_bits(on("white", 70), 0),
    ),
    _odd(
        "half-transparent everywhere",
        "flagged",
        "100% of what shows is half-transparent, alpha 128 at most",
        "half.png",
        _case("upper_body_alpha_half_everywhere.png"),
    ),
    _odd(
        "alpha of the subject at half",
        "flagged",
        _NO_CUT_OUT,
        "ghost.png",
        _alpha(lambda alpha: _set(alpha, alpha // 2), 64),
    ),
    _odd(
        "alpha inverted",
        "flagged",
        "inverted: 92% of the picture's edge is opaque",
        "inv.png",
        _case("upper_body_alpha_inverted.png"),
    ),
    _odd(
        "nearly opaque everywhere",
        "flagged",
        "none of it is transparent: 252 at least",
        "near.png",
        _alpha(lambda alpha: _set(alpha, np.maximum(alpha, 252)), 66),
    ),
    _odd("alpha torn into specks", "flagged", "it is torn", "torn.png", _alpha(lambda alpha: _set(alpha[::2], 0), 68)),
    _odd(
        "a stray opaque pixel in a corner",
        "used",
        "specks (1 px), which do not count for the square",
        "stray.png",
        _alpha(lambda alpha: _set(alpha[:1, :1], 255), 72),
    ),
)
_KINDS = (
    _odd(
        "a HEIC file called .jpg",
        "left out",
        "a HEIC file",
        "phone.jpg",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
    ),
    _odd(
        "a JPEG XL file called .png",
        "left out",
        "a JPEG XL file",
        "xl.png",
        b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99),
    ),
    _odd(
        "a Photoshop file called .png",
        "left out",
        "a Photoshop file, although its name ends in .png; save it as PNG",
        "shop.png",
        b"8BPS\0\1" + bytes(99),
    ),
    _odd(
        "JPEG XR (.jxr), as Windows saves HDR screenshots",
        "left out",
        ".jxr is not read; save it as PNG",
        "hdr.jxr",
        b"II\xbc\1" + bytes(99),
    ),
    _odd("a PNG without an ending", "used", "a PNG file, although its name has no ending", "shot", encoded(figure(74))),
    _odd("a JPEG called .jpe", "used", "no transparency", "shot.jpe", encoded(on("white", 76), "JPEG")),
    _odd(
        "a PNG with an ending of its own",
        "used",
        "a PNG file, although its name ends in .png_large",
        "a.png_large",
        encoded(figure(78)),
    ),
    _odd("a 32-bit BMP", "used", "no transparency", "b.bmp", bmp_of_32_bits(on("white", 80), 255)),
)
_COLOURS = (
    _odd(
        "3 MB of compressed text in a PNG", "used", "transparency", "text3.png", _case("upper_body_text_3MB_zTXt.png")
    ),
    _odd("a colour profile of 2 MB", "used", "transparency", "icc2.png", _case("upper_body_icc_2MB.png")),
    _odd(
        "HDR (cICP)",
        "flagged",
        "its colours are HDR (PQ, BT.2020), and are read as sRGB",
        "hdr.png",
        _case("upper_body_cICP_hdr.png"),
    ),
    _odd(
        "Display P3 (cICP)",
        "flagged",
        "its colours are Display P3",
        "p3.png",
        _with_chunks(82, chunk(b"cICP", b"\x0c\x0d\0\1")),
    ),
    _odd(
        "linear gamma",
        "flagged",
        "its colours are linear (gamma 1.0)",
        "linear.png",
        _with_chunks(84, chunk(b"gAMA", struct.pack(">I", 100_000))),
    ),
    _odd(
        "sRGB's own gamma",
        "used",
        "transparency",
        "srgb.png",
        _with_chunks(86, chunk(b"gAMA", struct.pack(">I", 45_455))),
    ),
)

_CONTENTS = (
    _odd("a PNG that ends in the middle", "left out", "damaged or incomplete", "cut.png", _PNG[: len(_PNG) // 2]),
    _odd("a PNG with a wrong checksum", "left out", "damaged or incomplete", "wrong.png", _without_checksum()),
    _odd("a file of 0 bytes", "left out", "an empty file (0 bytes)", "zero.png", b""),
    _odd("a text called .png", "left out", "not a picture, whatever its name says", "text.png", b"hello\n" * 50),
    _odd("a 20000×20000 bomb", "left out", "million pixels", "bomb.png", png(20_000, 20_000, b"")),
    _odd(
        "10000×10000 pixels", "left out", "10000×10000 pixels, more than 80 million", "x.png", png(10_000, 10_000, b"")
    ),
    _odd(
        "wholly transparent",
        "left out",
        "wholly transparent, nothing is on it",
        "no.png",
        encoded(Image.new("RGBA", SIZE)),
    ),
    _odd(
        "one colour all over",
        "left out",
        "of one colour, nothing is on it",
        "red.png",
        encoded(Image.new("RGB", SIZE, "red")),
    ),
    _odd(
        "smaller than 256 pixels",
        "left out",
        "120×90 pixels, smaller than 256",
        "s.png",
        encoded(figure(size=(120, 90))),
    ),
    _odd(
        "floating-point pixels (TIFF, mode F)",
        "left out",
        "floating-point pixels",
        "f.tif",
        encoded(Image.fromarray(np.ones((300, 300), dtype=np.float32)), "TIFF"),
    ),
    _odd(
        "a kind of picture that is not read (.heic, .exr, .tga …)",
        "left out",
        ".exr is not read; save it as PNG",
        "a.exr",
        b"x",
    ),
    _odd(
        "smaller than the wanted size",
        "flagged",
        "enlarged from 131 to 256 px",
        "small.png",
        encoded(figure(2, (300, 100))),
    ),
    _odd(
        "scenery instead of transparency",
        "flagged",
        "its own background stays",
        "s.jpg",
        encoded(Image.fromarray(np.random.default_rng(1).integers(0, 256, (600, 800, 3), dtype=np.uint8)), "JPEG"),
    ),
    _odd("another plain background", "flagged", "its own background stays", "black.png", encoded(on("black"))),
    _odd("a plain background of the wanted colour", "used", "no transparency", "white.png", encoded(on("white"))),
    _odd("straight alpha (Blender)", "used", "transparency: straight", "b.png", encoded(figure(4))),
    _odd(
        "premultiplied alpha (Honey Select 2)",
        "used",
        "transparency: premultiplied",
        "hs.png",
        encoded(premultiplied(figure(6))),
    ),
    _odd(
        "hard edges, no half-transparent pixel",
        "used",
        "no half-transparent pixel",
        "hard.png",
        encoded(
            Image.merge(
                "RGBA", (*figure(8).convert("RGB").split(), figure(8).getchannel("A").point(lambda a: 255 * (a > 127)))
            )
        ),
    ),
    _odd("out of focus", "flagged", "soft: blur", "soft.png", encoded(figure(10).filter(ImageFilter.GaussianBlur(6)))),
    _odd(
        "nearly the same as another one",
        "flagged",
        "nearly the same as good.png",
        "twin.png",
        encoded(figure(shift=2)),
    ),
    _odd(
        "an animated WebP",
        "used",
        "more than one picture in it: the first one is used",
        "a.webp",
        _frames("WEBP", lossless=True),
    ),
    _odd("an animated GIF", "used", "more than one picture in it", "a.gif", _frames("GIF")),
    _odd("an animated PNG", "used", "more than one picture in it", "a.apng", _frames("PNG")),
    _odd("a TIFF of several pages", "used", "more than one picture in it", "a.tif", _frames("TIFF")),
    _odd(
        "a CMYK JPEG", "used", "CMYK without a colour profile", "cmyk.jpg", encoded(on("white").convert("CMYK"), "JPEG")
    ),
    _odd("16 bits a channel, colour", "used", "16 bits a channel reduced to 8", "deep.png", sixteen_bits("RGBA")),
    _odd(
        "16 bits, grey",
        "used",
        "16 bits a channel reduced to 8",
        "grey16.png",
        encoded(Image.fromarray(np.asarray(on("white").convert("L")).astype(np.uint16) * 257)),
    ),
    _odd("a palette with transparency", "used", "transparency", "p.png", encoded(figure(12).quantize(64))),
    _odd("grey with alpha", "used", "transparency", "la.png", encoded(figure(14).convert("LA"))),
    _odd("black and white, 1 bit", "used", "no transparency", "bw.png", encoded(on("white").convert("1"))),
    _odd("an AVIF with alpha", "used", "transparency: straight", "a.avif", encoded(figure(16), "AVIF", quality=90)),
    _odd(
        "rotated by EXIF", "used", "rotated as its EXIF data says", "r.jpg", encoded(on("white"), "JPEG", exif=_exif(6))
    ),
    _odd(
        "EXIF that cannot be read",
        "used",
        "no transparency",
        "e.jpg",
        encoded(on("white"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff"),
    ),
    _odd(
        "another colour space (ICC)", "used", "to sRGB", "icc.png", encoded(figure(18), icc_profile=swapped_profile())
    ),
    _odd(
        "an ICC profile that cannot be read",
        "used",
        "colour profile cannot be read",
        "n.png",
        encoded(figure(20), icc_profile=b"x"),
    ),
    _odd(
        "a JPEG called .png",
        "used",
        "a JPEG file, although its name ends in .png",
        "j.png",
        encoded(on("white"), "JPEG"),
    ),
    *_ALPHAS,
    *_KINDS,
    *_COLOURS,
    _odd("rubbish behind the picture", "used", "transparency", "tail.png", encoded(figure(22)) + b"rubbish" * 99),
)


def _link(name: str, target: Callable[[Path], Path]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target(folder))


def _outside(folder: Path) -> Path:
    path = folder.parent / "outside.png"
    path.write_bytes(_PNG)
    return path


def _outside_folder(folder: Path) -> Path:
    _outside(folder)
    return folder.parent


def _same_stem(folder: Path) -> None:
    for kind in ("bmp", "png"):
        figure(24 if kind == "bmp" else 26).convert("RGB").save(folder / f"stem.{kind}")


def _same_name_apart(folder: Path) -> None:
    for number, sub in enumerate(("portrait", "upper_body")):
        _file(f"{sub}/001.png", encoded(figure(28 + number)))(folder)


def _in_another_encoding(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + "/顔.png".encode("shift_jis"))).write_bytes(_PNG)


def _unreadable(folder: Path) -> None:
    (folder / "locked.png").write_bytes(encoded(figure(30)))
    (folder / "locked.png").chmod(0)


def _locked_folder(folder: Path) -> None:
    _file("locked/1.png", _PNG)(folder)
    (folder / "locked").chmod(0)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


_FOLDERS = (
    _odd("a name with spaces", "used", "transparency", "my shot 1.png", encoded(figure(32))),
    _odd("a Japanese name with its wide space", "used", "transparency", "顔　アップ.png", encoded(figure(34))),
    Odd("a name in another encoding (old archives)", "left out", "rename it", "\\x8a\\xe7.png", _in_another_encoding),
    Odd("a line break in the name", "left out", "rename it", "a\\nb.png", _file("a\nb.png", _PNG)),
    Odd("two files of one stem", "left out", "has the same name as stem.bmp", "stem.png", _same_stem),
    Odd("one name in two folders", "used", "portrait: from the folder", "portrait/001.png", _same_name_apart),
    Odd(
        "the same file twice",
        "ignored",
        "the same file as good.png, byte for byte",
        "sub/copy.png",
        lambda folder: _file("sub/copy.png", (folder / GOOD).read_bytes())(folder),
    ),
    Odd(
        "a link out of the folder",
        "left out",
        "a link to a place outside the folder",
        "l.png",
        _link("l.png", _outside),
    ),
    Odd(
        "a link to nothing",
        "left out",
        "a link to a file that does not exist",
        "d.png",
        _link("d.png", lambda at: at / "nowhere.png"),
    ),
    Odd("a link to a folder", "left out", "a link to a folder", "more", _link("more", _outside_folder)),
    Odd(
        "a link to a picture of the same folder",
        "ignored",
        "byte for byte",
        "same.png",
        _link("same.png", lambda at: at / GOOD),
    ),
    Odd("a pipe called .png", "left out", "not a regular file", "pipe.png", lambda at: os.mkfifo(at / "pipe.png")),
    Odd("a file that may not be read", "left out", "cannot be read (Permission denied)", "locked.png", _unreadable),
    Odd("a folder that may not be read", "left out", "a folder that may not be read", "locked", _locked_folder),
    _odd("Thumbs.db", "ignored", "a hidden or system file", "Thumbs.db", b"x"),
    _odd(".DS_Store", "ignored", "a hidden or system file", ".DS_Store", b"x"),
    _odd("desktop.ini", "ignored", "a hidden or system file", "desktop.ini", b"x"),
    _odd("macOS's ._ files", "ignored", "a hidden or system file", "._good.png", b"x"),
    _odd("what is in a hidden folder", "ignored", "a hidden or system file", ".trash/old.png", _PNG),
    _odd("an editor's file (.psd, .clip …)", "ignored", "an editor's own file", "work.psd", b"8BPS\0\1" + bytes(99)),
    _odd("a backup by its name (.bak, .part …)", "ignored", "rename it to have it used", "a.png.bak", _PNG),
    _odd("any other file", "ignored", "not a picture by its name or content", "notes.doc", b"x"),
    _odd("a caption beside its picture", "ignored", "the caption of the picture beside it", "good.txt", b"1girl"),
    Odd(
        "a picture that composition.csv names and is not there",
        "left out",
        "named in composition.csv",
        "gone.png",
        _file("composition.csv", b"gone.png,portrait\n"),
    ),
    _odd(
        "a composition that does not exist",
        "stops",
        "line 1: 'good.png,full' names no composition",
        "composition.csv",
        b"good.png,full\n",
    ),
    _odd(
        "a composition.csv that is not UTF-8", "stops", "not a readable UTF-8 table", "composition.csv", b"\xff\xfe\x00"
    ),
    Odd("an empty folder", "stops", "an empty folder; put screenshots into it", "", _empty),
    Odd(
        "a folder without one usable picture",
        "stops",
        "no picture that can be used; good.png: an empty file",
        "",
        lambda at: (at / GOOD).write_bytes(b""),
    ),
)

ODD_INPUTS = (*_CONTENTS, *_FOLDERS)
