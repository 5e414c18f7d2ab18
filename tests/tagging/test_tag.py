"""Raw scores of a set: each picture read once, a batch ahead of the model."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lora_core.dataset import Entry
from lora_core.errors import OutputExistsError, TaggerError
from lora_core.store.digests import digest_of
from lora_core.tagging import tag as tag_module
from lora_core.tagging.select import read_tags, write_tags
from lora_core.tagging.tag import tag


def test_scores_go_to_their_category_by_name(store, manifest, make_tagger):
    table = tag(store, manifest, make_tagger(), device="cpu")
    blue, green = (table.of(entry) for entry in manifest.entries)
    # Outputs are blue, green, red, blue; the table's rows are blue_hair, green_eyes, general (9), hakurei_reimu (4).
    assert dict(blue.general) == {"blue_hair": 1.0}
    assert dict(blue.character) == {"hakurei_reimu": 1.0}
    assert dict(blue.rating) == {}
    assert dict(green.general) == {"green_eyes": 1.0}


def test_a_second_run_reads_no_picture_and_another_tagger_reads_all(store, manifest, make_tagger, monkeypatch):
    files = make_tagger()
    first = tag(store, manifest, files, device="cpu")
    told = []
    monkeypatch.setattr(tag_module, "_picture", lambda store, entry: pytest.fail("read again"))
    assert tag(store, manifest, files, lambda done, total, note="": told.append(done), device="cpu") == first
    assert told == [2]
    monkeypatch.undo()
    other = tag(store, manifest, make_tagger(scale=1 / 510), device="cpu")
    assert other.model != first.model
    assert other.of(manifest.entries[0]).general["blue_hair"] == pytest.approx(0.5)


def test_a_new_picture_alone_is_read(store, manifest, make_tagger, monkeypatch):
    files = make_tagger()
    tag(store, manifest.model_copy(update={"entries": manifest.entries[:1]}), files, device="cpu")
    seen = []
    real = tag_module._picture
    monkeypatch.setattr(tag_module, "_picture", lambda store, entry: seen.append(entry.name) or real(store, entry))
    tag(store, manifest, files, device="cpu")
    assert seen == ["green"]


def test_the_table_survives_a_file_and_is_never_overwritten(store, manifest, make_tagger, tmp_path):
    table = tag(store, manifest, make_tagger(), device="cpu")
    path = tmp_path / "tags.json"
    write_tags(table, path)
    write_tags(table, path)
    assert read_tags(path) == table
    path.write_text("{}")
    with pytest.raises(OutputExistsError, match="other bytes"):
        write_tags(table, path)
    with pytest.raises(TaggerError, match="not a table of tagger scores"):
        read_tags(path)
    with pytest.raises(TaggerError, match="headcanon tag"):
        read_tags(tmp_path / "no.json")


def _entries(count):
    return [
        Entry(name=str(each), source=f"{each}.png", image=digest_of(str(each).encode()), width=8, height=8)
        for each in range(count)
    ]


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (8, [4, 4]), (9, [4, 4, 1])])
def test_batches_keep_the_order_and_the_last_may_be_short(count, sizes, ahead):
    with ThreadPoolExecutor() as pool:
        batches = list(tag_module._batches(pool, _entries(count), lambda entry: np.float32(entry.name), 4, ahead))
    assert [len(entries) for entries, _ in batches] == sizes
    assert [(e.name, int(i)) for es, inputs in batches for e, i in zip(es, inputs, strict=True)] == [
        (str(each), each) for each in range(count)
    ]


def test_pictures_are_prepared_ahead_but_never_all_at_once():
    begun, ahead = [], threading.Event()

    def prepare(entry):
        begun.append(entry.name)
        if len(begun) == 12:
            ahead.set()
        return np.zeros(1, dtype=np.float32)

    with ThreadPoolExecutor() as pool:
        next(tag_module._batches(pool, _entries(100), prepare, 4, 2))
        assert ahead.wait(120)  # the two batches behind the first one
    assert len(begun) == 12


def test_a_picture_that_cannot_be_read_is_named(store, manifest, make_tagger):
    broken = manifest.entries[0].model_copy(update={"image": store.put_bytes(b"no picture")})
    with pytest.raises(TaggerError, match=r"blue\.png: cannot be read"):
        tag(store, manifest.model_copy(update={"entries": (broken,)}), make_tagger(), device="cpu")
