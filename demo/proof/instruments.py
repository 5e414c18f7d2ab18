"""Reads pictures with the tagger and with the look probe. What was read before comes from the store."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image

from demo.proof.measures import Reading
from lora_core.dataset import Entry, Manifest
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.tagging.tag import tag

_VERSION = 1
_DIGITS = 5


class Instruments:
    """The tagger that judges epochs, and the probe beside it."""

    def __init__(self, store: Store, tagger: Mapping[str, Path], probe: Path) -> None:
        self._store = store
        self._tagger = tagger
        self._probe = probe
        self._probe_digest = store.digest_of_file(probe)

    def read(self, pictures: Manifest) -> dict[str, Reading]:
        """Picture digest → what the two see.

        Raises:
            TaggerError: the tagger cannot be used.
        """
        table = tag(self._store, pictures, self._tagger)
        solid = self._solid({entry.image: entry for entry in pictures.entries})
        return {
            entry.image: Reading(tags=table.of(entry).general, solid=solid[entry.image]) for entry in pictures.entries
        }

    def _solid(self, entries: Mapping[str, Entry]) -> dict[str, float]:
        keys = {
            image: digest_of(canonical_json(["look probe", _VERSION, self._probe_digest, image])) for image in entries
        }
        known = {image: self._store.record(key, float) for image, key in keys.items()}
        missing = [image for image, found in known.items() if found is None]
        if missing:
            from demo.proof.probe import load_probe, solid_probabilities

            pictures = [Image.open(BytesIO(self._store.get_bytes(image))) for image in missing]
            found = solid_probabilities(load_probe(self._probe), pictures)
            for image, probability in zip(missing, found, strict=True):
                known[image] = round(probability, _DIGITS)
                self._store.set_record(keys[image], known[image])
        return {image: probability for image, probability in known.items() if probability is not None}
