"""What kind of file something is, by its first bytes: the content decides, the name is only what somebody calls it."""

import functools
import importlib
from pathlib import PurePath
from typing import NamedTuple

HEAD_BYTES = 64
"""As many of a file's first bytes as `kind_of` needs."""

# What 3D creators, browsers and editors write. The rest (EPS, ICO …) stays closed: fewer decoders to attack.
BUILT_IN = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
# What a file's ending says it is.
MEANT_BY = {
    ".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jif": "JPEG", ".jfif": "JPEG",
    ".webp": "WEBP", ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
    ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".jxl": "JXL",
}  # fmt: skip
# Renders and photographs, so that leaving one out is a loss; what editors save beside them is not.
NOT_READ = {
    ".tga": "Targa", ".dds": "DDS", ".exr": "OpenEXR", ".hdr": "Radiance HDR", ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000", ".jxr": "JPEG XR", ".wdp": "JPEG XR", ".hdp": "JPEG XR", ".pcx": "PCX", ".ppm": "Netpbm",
    ".pgm": "Netpbm", ".pbm": "Netpbm", ".pnm": "Netpbm", ".qoi": "QOI", ".ico": "ICO", ".cr2": "camera raw",
    ".cr3": "camera raw", ".nef": "camera raw", ".arw": "camera raw", ".dng": "camera raw", ".orf": "camera raw",
    ".rw2": "camera raw", ".raf": "camera raw",
}  # fmt: skip
_EDITORS = (".psd", ".psb", ".clip", ".xcf", ".kra", ".ora", ".sai", ".sai2", ".mdp", ".afphoto", ".procreate")
_COPIES = (".bak", ".old", ".orig", ".tmp", ".part", ".crdownload", ".download")
_PLUGINS = {"HEIF": ("pillow_heif", "pillow-heif"), "JXL": ("pillow_jxl", "pillow-jxl-plugin")}
_WORDS = {"HEIF": "HEIC", "JXL": "JPEG XL", "PSD": "Photoshop"}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "PSD"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"\0\0\1\0", "ICO"),
)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def kind_of(head: bytes) -> str:
    """The kind of picture that a file's first bytes belong to, as Pillow calls it where it knows it; empty: none.

    Signatures: W3C PNG, ITU-T T.81 (JPEG), ISO/IEC 14496-12 with HEIF's and AVIF's brands, ISO/IEC 18181-2 (JPEG XL),
    ITU-T T.832 (JPEG XR), Adobe's Photoshop and TIFF specifications.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), _box_bytes(head)), 4))]
        if any(brand in _AVIF_BRANDS for brand in brands):
            return "AVIF"
        return "HEIF" if any(brand in _HEIC_BRANDS for brand in brands) else ""
    return ""


def _box_bytes(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")


@functools.cache
def read_kinds() -> tuple[str, ...]:
    """Kinds that can be decoded here, as Pillow calls them: the built-in ones, and those with a plugin installed."""
    return (*BUILT_IN, *(kind for kind in _PLUGINS if _switched_on(kind)))


def _switched_on(kind: str) -> bool:
    """Whether a plugin's decoder is there; Pillow knows it from then on."""
    module = _PLUGINS[kind][0]
    try:
        plugin = importlib.import_module(module)
    except (ImportError, OSError):
        return False
    if hasattr(plugin, "register_heif_opener"):
        plugin.register_heif_opener()
    return True


def extensions() -> tuple[str, ...]:
    """Endings of pictures that can be read here."""
    return tuple(ending for ending, kind in MEANT_BY.items() if kind in read_kinds())


def named(kind: str) -> str:
    """A kind as people call it."""
    return _WORDS.get(kind, kind)


def how_to_read(kind: str) -> str:
    """What to do with a picture of a kind that is not read here."""
    if kind in _PLUGINS:
        return f"`pip install {_PLUGINS[kind][1]}` has it read; or save it as PNG"
    return "save it as PNG"


def not_its_name(kind: str, path: PurePath) -> str:
    """`a JPEG file, although its name ends in .png`; empty if the name says what the file is."""
    ending = path.suffix.lower()
    if ending and kind == (MEANT_BY.get(ending) or NOT_READ.get(ending)):
        return ""
    article = "an" if named(kind)[0] in "AIO" else "a"
    return f"{article} {named(kind)} file, although its name {f'ends in {ending}' if ending else 'has no ending'}"


class NotUsed(NamedTuple):
    """Why a file is not used as a picture; harmless: nothing is lost without it."""

    reason: str
    harmless: bool


def why_not_used(path: PurePath, head: bytes) -> NotUsed | None:
    """Why a file is no candidate, by its content first and its name then; None: it is one.

    Args:
        path: for its name.
        head: the first HEAD_BYTES of it; empty: they cannot be read, or there are none.
    """
    ending, kind = path.suffix.lower(), kind_of(head)
    if ending in _EDITORS:
        return NotUsed("an editor's own file, not a picture; export it as PNG if you want it used", harmless=True)
    if ending in NOT_READ and (not kind or kind == NOT_READ[ending] or NOT_READ[ending] == "camera raw"):
        return NotUsed(f"{ending} is not read; save it as PNG", harmless=False)
    if ending in _COPIES or path.name.endswith("~"):
        return NotUsed("a backup or an unfinished download by its name; rename it to have it used", harmless=True)
    if kind and kind not in read_kinds():
        what = not_its_name(kind, path) or f"{named(kind)} is not read here"
        return NotUsed(f"{what}; {how_to_read(kind)}", harmless=False)
    if not kind and ending not in MEANT_BY:
        return NotUsed(f"not a picture by its name or content; pictures end in {_endings()}", harmless=True)
    if not kind and MEANT_BY[ending] not in read_kinds():
        return NotUsed(f"{ending} is not read here; {how_to_read(MEANT_BY[ending])}", harmless=False)
    return None


def _endings() -> str:
    return ", ".join(extensions())


def may_be_picture(path: PurePath) -> bool:
    """Whether a file, going by its name alone, is one that a run may use."""
    return path.suffix.lower() in (*MEANT_BY, "") and not path.name.startswith(".")
