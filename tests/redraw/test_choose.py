"""A classifier beside the tagger in a selection: it refuses what it takes for the look, if it knows the look."""

from pathlib import Path

import pytest
from red_classifier import classifier, manifest

from demo.project import MODELS
from lora_core.dataset import Manifest
from lora_core.hub import find_tagger_files
from lora_core.judging.onnx_models import find_classifier_files
from lora_core.recipe import Judging, Redraw, ShotPlan
from lora_core.redraw.choose import Held, choose, read_selection
from lora_core.redraw.draw import Redrawn, RedrawnSet
from lora_core.redraw.scenes import Figure, Scene
from lora_core.refs import ReportRef
from lora_core.store import Store


def _drawn(store: Store, pictures: Manifest) -> ReportRef:
    scene = Scene(framing="portrait", clothes="", pose="", place="", prompt="momo, portrait", seed=1)
    found = RedrawnSet(
        pictures=tuple(
            Redrawn(scene=scene, image=one.image, width=one.width, height=one.height) for one in pictures.entries
        )
    )
    listed = store.path(store.put_json(found.model_dump(mode="json")))
    return ReportRef(sha256=store.put_tree({"scenes.json": listed}))


@pytest.mark.parametrize(("screenshots", "refused"), [("#ff0000", [True, False]), ("#000000", [False, False])])
def test_a_picture_of_the_looks_class_is_refused_if_the_screenshots_are_of_it_too(
    tmp_path: Path, screenshots: str, refused: list[bool]
) -> None:
    """A red picture is 3d at .73 there, a black one at .27."""
    store, files = Store(tmp_path / "store"), find_classifier_files(classifier(tmp_path / "model"))
    drawn = _drawn(store, manifest(store, "#ff0000", "#000000"))
    held = Held(Figure("momo", ("1girl",), ()), ShotPlan(), Redraw(max_look=1.0), Judging())
    tagger = find_tagger_files(str(MODELS / "tagger"), "")
    found = read_selection(store, choose(store, drawn, manifest(store, screenshots), tagger, held, classifier=files))
    assert [one.text.startswith("3D look 0.73 by the classifier") for one in found.pictures] == refused
