import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from lora_core.errors import RecipeError
from lora_core.methods import FIRST, METHODS
from lora_core.recipe import PATHS, PRESETS, CharacterTraining, Merge, PathField, Recipe, in_words, with_paths
from lora_core.recipe_file import anchored, looks_like_path, parse_recipe, read_recipe
from tasks.publish import without_place

MINIMAL = {"name": "Aiko", "base": "models/sd15.safetensors", "style": "style", "character": "character"}


def test_the_defaults_are_the_notes_numbers() -> None:
    recipe = parse_recipe(MINIMAL, "recipe.toml")
    style, character = recipe.style_training, recipe.character_training
    assert recipe.preprocess.size == 1024
    assert recipe.tagger.threshold == pytest.approx(0.5)
    assert (recipe.downscale.size, recipe.downscale.repeats) == (384, 2)
    assert (style.rank, style.alpha) == (64, 32)
    assert (character.rank, character.alpha) == (32, 16)
    for training in (style, character):
        assert (training.resolution, training.repeats, training.epochs) == (512, 10, 10)
        assert (training.unet_lr, training.text_encoder_lr) == (1e-4, 2e-5)
    assert (recipe.regularization.use, recipe.regularization.repeats) == (True, 1)
    assert recipe.merge.weight == pytest.approx(1.0)
    assert recipe.captions.add == ("realistic",)
    assert recipe.captions.face == ("nose", "lips")
    assert (recipe.sampling.width, recipe.sampling.height) == (512, 768)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charater": "x"}, "r.toml: unknown option 'charater'; did you mean 'character'?"),
        ({"merge": {"wieght": 1}}, "r.toml: unknown option 'merge.wieght'; did you mean 'weight'?"),
        ({"merge": {"weight": 9}}, "r.toml: merge.weight = 9: input should be less than or equal to 4"),
        ({"style": None}, "r.toml: style = None"),
        (
            {"method": "diff"},
            "r.toml: method = 'diff': input should be 'auto', 'note', 'note-low-rank', 'named-look', 'textual-",
        ),
        ({"method": ["note"]}, "r.toml: method = ['note']: input should be 'auto'"),
        ({"method": "naive", "merge": 3}, "r.toml: merge = 3: input should be a valid dictionary"),
        (
            {"method": "difference", "merge": {"use": True}},
            "r.toml: difference: a difference is taken between two LoRAs of the plain",
        ),
        (
            {"method": "difference", "style_training": {"network": {"kind": "dora"}}},
            "r.toml: difference: style_training.network.kind = 'dora': what a DoRA ",
        ),
        (
            {"method": "difference", "character_training": {"network": {"kind": "dora"}}},
            "r.toml: character_training: network.kind = 'dora': what a DoRA changes depends on the base",
        ),
    ],
)
def test_a_bad_option_is_one_line_that_says_what_to_do(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(MINIMAL | change, "r.toml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_method_sets_what_the_recipe_leaves_open_and_a_key_of_its_own_wins() -> None:
    note, low, difference, captions, naive = (
        parse_recipe(MINIMAL | {"method": method}, "r")
        for method in ("note", "note-low-rank", "difference", "captions-only", "naive")
    )
    assert note == parse_recipe(MINIMAL, "r")
    assert (low.character_training.rank, low.character_training.alpha, low.merge.use) == (8, 4, True)
    assert (difference.merge.use, difference.difference.use, difference.regularization.use) == (False, True, True)
    assert (difference.style_training.rank, difference.character_training.rank) == (64, 64)
    assert (difference.character_training.alpha, difference.difference.rank) == (32, 32)
    assert (naive.merge.use, naive.difference.use, naive.regularization.use) == (False, False, False)
    assert (captions.merge.use, captions.regularization.use, captions.captions) == (False, False, note.captions)
    assert (naive.captions.add, naive.captions.face, naive.captions.prune) == ((), (), True)
    assert naive.captions.drop == ("realistic", "3d", "nose", "lips")  # else the tagger's own would explain the look
    assert [each.trains_style for each in (note, low, difference, captions, naive)] == [True, True, True, False, False]

    own = {"character_training": {"rank": 12, "epochs": 3}, "captions": {"drop": ["smile"]}, "merge": {"use": True}}
    found = parse_recipe(MINIMAL | {"method": "note-low-rank"} | own, "r")
    assert (found.character_training.rank, found.character_training.epochs) == (12, 3)
    assert found.character_training.alpha == 4
    found = parse_recipe(MINIMAL | {"method": "naive"} | own, "r")
    assert (found.captions.add, found.captions.drop, found.merge.use) == ((), ("smile",), True)


def test_a_method_reads_sections_that_are_models_already_and_a_whole_recipe_again() -> None:
    sections = {"character_training": CharacterTraining(epochs=3), "merge": Merge(weight=0.5)}
    found = Recipe.model_validate(MINIMAL | {"method": "difference"} | sections)
    assert (found.character_training.epochs, found.character_training.rank) == (3, 64)
    assert (found.merge.weight, found.merge.use) == (0.5, False)
    assert Recipe.model_validate(found.model_dump()) == found


def test_only_a_recipe_that_learns_no_look_can_do_without_style_screenshots() -> None:
    bare = {key: value for key, value in MINIMAL.items() if key != "style"}
    for method in ("captions-only", "naive"):
        assert not parse_recipe(bare | {"method": method}, "r").style.images
    for more in ({}, {"method": "difference"}, {"method": "naive", "regularization": {"use": True}}):
        with pytest.raises(RecipeError, match=r"^r\.toml: 'style' is missing: method '[a-z]+' learns the look"):
            parse_recipe(bare | more, "r.toml")


def test_a_look_that_is_named_has_its_word_in_the_characters_captions_once() -> None:
    found = parse_recipe(MINIMAL | {"method": "named-look"}, "r")
    assert (found.captions.add, found.style.captions, found.style_training.text_encoder_lr) == (("hcstyle",), "tags", 0)
    own = {"style": {"images": "s", "identifier": "plastic"}, "captions": {"add": ("blurry",)}}
    assert parse_recipe(MINIMAL | {"method": "named-look"} | own, "r").captions.add == ("blurry", "plastic")
    assert Recipe.model_validate(found.model_dump()) == found
    with pytest.raises(RecipeError, match="write it small"):
        parse_recipe(MINIMAL | {"style": {"images": "s", "identifier": "Plastic", "named": True}}, "r")
    with pytest.raises(RecipeError, match="captions have spaces for underscores; write one word"):
        parse_recipe(MINIMAL | {"style": {"images": "s", "identifier": "my_look", "named": True}}, "r")


def test_a_word_whose_vectors_are_learned_is_said_and_neither_merged_nor_subtracted() -> None:
    found = parse_recipe(MINIMAL | {"method": "textual-inversion"}, "r")
    assert (found.trains_style, found.merge.use, found.captions.add) == (True, False, ("hcstyle",))
    assert "inversion" not in parse_recipe(MINIMAL, "r").style_training.model_dump()
    for more in ({"merge": {"use": True}}, {"style": {"images": "s", "named": False}}):
        with pytest.raises(RecipeError, match="teaches a word and no LoRA"):
            parse_recipe(MINIMAL | {"method": "textual-inversion"} | more, "r")
    with pytest.raises(RecipeError, match="it is the rate of the word's vectors"):
        parse_recipe(MINIMAL | {"method": "textual-inversion", "style_training": {"text_encoder_lr": 0}}, "r")


def test_a_missing_option_is_named() -> None:
    with pytest.raises(RecipeError, match="'base' is missing"):
        parse_recipe({"name": "x", "style": "s", "character": "c"}, "r.toml")


def test_relative_paths_are_taken_from_the_recipes_folder(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('name = "a"\nbase = "./b"\nstyle = "s"\ncharacter = "c"\n')
    recipe = read_recipe(file)
    assert recipe.style.images == str(tmp_path / "s")
    assert recipe.base.model == str(tmp_path / "b")
    assert recipe.runtime.store == str(tmp_path / ".headcanon")


def test_a_models_path_is_taken_from_the_recipes_folder_and_told_without_it(tmp_path: Path) -> None:
    judging = {"classifier": "looks", "embedder": "clip/vision_model.onnx"}
    recipe = anchored(parse_recipe(MINIMAL | {"judging": judging}, "r"), tmp_path)
    assert recipe.judging.embedder == str(tmp_path / "clip" / "vision_model.onnx")
    told = without_place(recipe).judging
    assert (told.classifier, told.embedder) == ("looks", "vision_model.onnx")
    assert recipe.judging.without_place == parse_recipe(MINIMAL, "r").judging


@pytest.mark.parametrize("field", PATHS, ids=lambda field: f"{field.section}.{field.name}")
def test_every_path_is_taken_from_the_recipes_folder_and_reported_without_it(field: PathField, tmp_path: Path) -> None:
    lists = {"sampling": {"transfer": ["models/a.safetensors"]}, "style": ["one", "other"]}
    named = parse_recipe(MINIMAL | lists, "r")
    named = with_paths(named, lambda each, text: "./some/where" if each == field else text)
    there = anchored(named, tmp_path)
    assert field.texts(there) == (str(tmp_path / "some" / "where"),)
    if field.section != "runtime":
        assert field.texts(without_place(there)) == ("where",)


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(b'\xef\xbb\xbfname = "a"\nbase = "o/b"\nstyle = "s"\ncharacter = "c"\n')
    assert read_recipe(file).base.model == "o/b"


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(b"name = \xff")
    with pytest.raises(RecipeError, match=r"recipe\.toml: not a readable TOML"):
        read_recipe(file)
    with pytest.raises(RecipeError, match="no such recipe"):
        read_recipe(tmp_path / "other.toml")


def test_a_hub_repository_is_no_path_unless_it_lies_there(tmp_path: Path) -> None:
    assert not looks_like_path("owner/name")
    assert all(map(looks_like_path, ("./name", "models/sd15.safetensors", "C:\\sd\\m.safetensors", "name", "a/b/c")))
    (tmp_path / "owner" / "name").mkdir(parents=True)
    recipe = parse_recipe(MINIMAL | {"base": "owner/name"}, "r")
    assert anchored(recipe, tmp_path).base.model == str(tmp_path / "owner" / "name")
    assert anchored(recipe, tmp_path / "owner").base.model == "owner/name"


def test_the_trigger_is_made_from_the_name_when_it_is_not_given() -> None:
    assert parse_recipe(MINIMAL, "r").trigger == "hcaiko"
    assert parse_recipe(MINIMAL | {"trigger": "zwx"}, "r").trigger == "zwx"


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [field.annotation for field in model.model_fields.values()]
    return [model, *(m for i in inner if isinstance(i, type) and issubclass(i, BaseModel) for m in _models(i))]


def test_every_option_has_a_title_and_a_description_and_no_awkward_type() -> None:
    for model in _models(Recipe):
        assert model.model_config["frozen"]
        assert model.model_config["extra"] == "forbid"
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                continue
            assert field.title, f"{model.__name__}.{name}"
            assert field.description, f"{model.__name__}.{name}"
    # Prefect's form shows these badly: Optional and unions, dicts, sets.
    schema = json.dumps(Recipe.model_json_schema())
    assert not re.search(r'"anyOf"|"null"|"uniqueItems"|"additionalProperties": (true|\{)', schema)


def test_a_method_that_is_still_to_be_decided_trains_no_style_and_redraws() -> None:
    bare = {key: value for key, value in MINIMAL.items() if key != "style"}
    found = parse_recipe(bare | {"method": "auto"}, "r")
    assert (found.is_decided, found.trains_style, found.needs_style, found.redraw.use) == (False, False, False, True)
    assert not parse_recipe(bare | {"method": "auto", "redraw": {"use": False}}, "r").redraw.use


def test_every_method_is_offered_once_the_best_one_first_with_its_reason() -> None:
    schema = Recipe.model_json_schema()["properties"]["method"]
    assert schema["enum"] == list(METHODS)
    assert set(METHODS) == set(PRESETS)
    assert len(METHODS) == len(PRESETS)
    assert METHODS[0] == FIRST.method
    assert f"Begin with '{FIRST.method}' ({FIRST.why})" in schema["description"]
    assert Recipe.model_fields["method"].default == "note"


def test_a_method_is_described_with_the_stages_that_the_recipe_switches_itself() -> None:
    def told(**more: object) -> str:
        return in_words(parse_recipe(MINIMAL | more, "r"))

    assert told() == f"note: {PRESETS['note'].what}"
    assert told(method="captions-only") == f"captions-only: {PRESETS['captions-only'].what}"
    assert told(merge={"use": False}) == f"{told()}; here with [merge] use = false"
    assert told(method="captions-only", redraw={"use": True}).endswith("; here with [redraw] use = true")


def test_the_look_can_be_learned_from_several_folders() -> None:
    found = parse_recipe(MINIMAL | {"style": ["yuki", "kuma", "sora"]}, "r")
    assert (found.style.images, found.style.more) == ("yuki", ("kuma", "sora"))
    assert found.style.folders == ("yuki", "kuma", "sora")
    assert parse_recipe(MINIMAL | {"style": ["yuki"]}, "r") == parse_recipe(MINIMAL | {"style": "yuki"}, "r")
    assert "more" not in parse_recipe(MINIMAL, "r").style.model_dump()
    named = parse_recipe(MINIMAL | {"style": ["yuki", "kuma"], "method": "named-look"}, "r")
    assert (named.style.folders, named.style.named) == (("yuki", "kuma"), True)
