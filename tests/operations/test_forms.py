"""What Prefect's UI draws forms from: no Optional, no union, no dict; every option told, bounded and in order."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from flows.deploy import Declared, declared, form_of
from flows.main_options import MAIN, MainOptions, sections_of
from flows.run_names import RUN_NAMES, run_name
from lora_core.recipe import Recipe

DEPLOYMENTS = {one.name: one for one in declared()}


def _schema(one: Declared) -> dict[str, Any]:
    return parameter_schema(one.flow()).model_dump_for_openapi()


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def test_every_deployment_is_there() -> None:
    assert set(DEPLOYMENTS) == {
        "train-character", "train-character-options", "train-character-full", "prepare-style", "train-cast",
        "draw-more", "watch-inbox", "janitor",
    }  # fmt: skip


@pytest.mark.parametrize("one", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_no_form_has_optional_fields_unions_or_dictionaries(one: Declared) -> None:
    for node in _nodes(_schema(one)):
        assert not {"anyOf", "oneOf", "allOf"} & node.keys(), node
        assert node.get("type") != "null", node
        assert not isinstance(node.get("additionalProperties"), dict), node


@pytest.mark.parametrize("one", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_every_parameter_says_what_it_is(one: Declared) -> None:
    schema = _schema(one)
    for name, parameter in schema["properties"].items():
        section = schema["definitions"].get(parameter.get("$ref", "").rpartition("/")[2], {})
        assert parameter.get("description") or section.get("description"), name


def test_every_option_of_the_full_form_has_a_title_a_description_and_a_place() -> None:
    for section, model in _schema(DEPLOYMENTS["train-character-full"])["definitions"].items():
        fields = model["properties"]
        assert [field["position"] for field in fields.values()] == list(range(len(fields))), section
        for name, field in fields.items():
            if "$ref" not in field:  # a section within a section has its own card
                assert field.get("title"), (section, name)
                assert field.get("description"), (section, name)
            if field.get("type") in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum", "enum"} & field.keys(), (section, name)


def test_the_full_form_has_every_section_of_the_recipe_but_where_results_go() -> None:
    shown = set(_schema(DEPLOYMENTS["train-character-full"])["properties"])
    # `method` is a preset of what the form shows in full, and would contradict it.
    assert shown - {"until", "force", "processes", "speed"} == set(Recipe.model_fields) - {"runtime", "method"}


def test_the_short_form_is_short() -> None:
    schema = _schema(DEPLOYMENTS["train-character"])
    assert list(schema["properties"]) == ["character", "folder", "preset", "base", "force", "epoch", "weight"]
    assert schema["required"] == ["character"]


def test_the_form_between_offers_the_dozen_options_and_sends_none_that_was_left_empty() -> None:
    schema = form_of(DEPLOYMENTS["train-character-options"].flow(), ("default", "sdxl"))
    assert schema["properties"]["options"]["default"] == {}
    fields = schema["definitions"]["MainOptions"]["properties"]
    assert [name.replace("__", ".") for name in fields] == list(MAIN)
    assert not [name for name, field in fields.items() if "default" in field]
    assert {name for name, field in fields.items() if field.get("enum")} == {
        "method", "sampling__scheduler", "gates__epoch",
    }  # fmt: skip


def test_what_is_filled_in_is_a_recipe_s_and_zero_is_a_number() -> None:
    filled = MainOptions.model_validate(
        {"method": "difference", "trigger": "", "sampling__while_training": 0, "character_training__rank": 8}
    ).model_dump()
    assert sections_of(filled) == {
        "method": "difference", "sampling": {"while_training": 0}, "character_training": {"rank": 8},
    }  # fmt: skip


@pytest.mark.parametrize("one", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_a_preset_is_chosen_and_never_typed(one: Declared) -> None:
    properties = form_of(one.flow(), ("default", "mine"))["properties"]
    if "preset" in properties:
        assert properties["preset"]["enum"][-2:] == ["default", "mine"]
        assert properties["preset"]["default"] in properties["preset"]["enum"]


def test_a_run_is_called_by_what_its_form_says_and_else_as_prefect_likes() -> None:
    named = {name: one.flow() for name, one in DEPLOYMENTS.items() if "housekeeping" not in one.tags}
    assert {name: flow.flow_run_name for name, flow in named.items()} == RUN_NAMES
    filled = {"character": "momo", "name": "mimi", "result": "momo-v2"}
    assert [run_name(name, filled) for name in RUN_NAMES] == [
        "momo", "momo", "mimi", "style default", "cast default", "momo-v2: more pictures",
    ]  # fmt: skip
    assert run_name("prepare-style", {"preset": "sdxl"}) == "style sdxl"
    assert [run_name("train-character", {}), run_name("janitor", filled), run_name("another's", filled)] == [""] * 3


def test_only_what_looks_after_others_has_a_schedule_and_never_two_at_once() -> None:
    for name, one in DEPLOYMENTS.items():
        housekeeping = name in ("watch-inbox", "janitor")
        assert bool(one.schedules) == ("housekeeping" in one.tags) == housekeeping
        assert (one.concurrency_limit is not None) == housekeeping
