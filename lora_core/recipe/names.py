"""Names of LoRAs: what file systems, web UIs, prompts and model cards all take."""

import re
import unicodedata

NAME_BYTES = 160
"""Files are called after it, with a version, an epoch and an ending behind; file systems take 255 bytes."""

_FORBIDDEN = '\\/:*?"<>|,`'
# Letters that join emoji and scripts are no control characters, though Unicode counts them among the unseen.
_JOINERS = "\u200c\u200d"
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Microsoft, "Naming Files, Paths, and Namespaces": devices, whatever follows the first dot.
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])[ ]*(?:\..*)?", re.IGNORECASE)


def checked_name(name: str) -> str:
    """The name of a LoRA.

    Raises:
        ValueError: it has a letter, an end or a length that some program takes badly; the message says which.
    """
    if bad := next((letter for letter in name if letter in _FORBIDDEN), None):
        raise ValueError(
            f"must not hold {bad} (nor any of {' '.join(_FORBIDDEN)}): files, prompts or web UIs take it otherwise"
        )
    if unseen := next((letter for letter in name if letter not in _JOINERS and _is_unseen(letter)), None):
        raise ValueError(f"holds the control character {unseen!a}; write it without")
    if name.startswith(".") or name != name.strip() or name.endswith("."):
        raise ValueError("must not begin or end with a dot or a space: Windows takes them away; leave them out")
    if not any(letter.isprintable() for letter in name):
        raise ValueError("holds no letter that can be seen; choose another")
    if _DEVICE.fullmatch(name):
        raise ValueError("is a device on Windows, which opens no file of that name; choose another")
    if (taken := len(name.encode())) > NAME_BYTES:
        raise ValueError(f"takes {taken} bytes, more than {NAME_BYTES}; choose a shorter one")
    return name


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN


def trigger_from(name: str) -> str:
    """A trigger made of a name: hc and its letters and digits; of a name without any, their numbers in Unicode."""
    letters = "".join(letter for letter in name.lower() if letter.isalnum())
    return "hc" + (
        letters or "".join(f"{ord(letter):x}" for letter in name if letter.isprintable() and letter > " ")[:16]
    )
