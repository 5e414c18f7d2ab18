"""Reads TensorBoard's event files back, with the protocol's own messages."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag → step → value, as TensorBoard shows it: a session that starts again at a step takes back what lay behind."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        for event in _events(path.read_bytes()):
            if event.HasField("session_log"):
                found = {tag: {s: v for s, v in values.items() if s < event.step} for tag, values in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def _events(data: bytes) -> list[Event]:
    """TFRecord: length (8 bytes), its checksum (4), the message, its checksum (4)."""
    events, at = [], 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        events.append(Event.FromString(data[at + 12 : at + 12 + length]))
        at += 16 + length
    return events
