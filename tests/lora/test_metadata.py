"""Whatever draws, merges or makes a LoRA asks the content rule about its words and about what its files state."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from flows.cli import main
from lora_core.captions.content import Said
from lora_core.captions.content import check as check_content
from lora_core.lora.metadata import stated_in

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The content rule's one line for a command; nothing is written."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["headcanon", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        err = capsys.readouterr().err
        assert ended.value.code == 2, err
        assert err.startswith("headcanon: content rule: "), err
        assert err.count("\n") == 1, err
        return err

    return run


@pytest.fixture
def stating(made: Any, tmp_path: Path) -> Callable[..., Path]:
    """A LoRA whose header states something."""

    def make(name: str, tags: tuple[str, ...] = (), **metadata: str) -> Path:
        if tags:
            metadata["ss_tag_frequency"] = json.dumps({"1_pictures": dict.fromkeys(tags, 1)})
        path = tmp_path / f"{name}.safetensors"
        save_file(load_file(made["sd1"].lora), path, metadata)
        return path

    return make


@pytest.fixture
def base(made: Any) -> Path:
    return made["sd1"].single  # type: ignore[no-any-return]


def test_a_lora_that_was_trained_on_both_is_neither_merged_nor_drawn_nor_made_into_another(refused, stating, base):
    lora, out = stating("both", ("1girl", "child", "nude")), base.with_name("never.safetensors")
    plain = stating("plain", ("1girl",))
    commands = (
        ("merge", base, lora, out),
        ("sample", base, "--lora", lora, "--prompt", "1girl", "--out", out),
        ("lora", "add", plain, lora, out),
        ("lora", "subtract", plain, lora, out),
        ("lora", "resize", lora, out, "--rank", 2),
        ("lora", "convert", lora, out, "--to", "diffusers"),
    )
    for command in commands:
        said = refused(*command)
        assert "what both.safetensors was trained on codes a minor (child)" in said
        assert "what both.safetensors was trained on is sexual (nude)" in said
        assert not out.exists()


def test_the_two_signs_may_come_from_two_loras(refused, stating, base, tmp_path):
    young, bare = stating("one", ("loli",)), stating("two", ("nipples",))
    said = refused("merge", base, young, bare, tmp_path / "out.safetensors")
    assert "one.safetensors was trained on codes a minor (loli)" in said
    assert "two.safetensors was trained on is sexual (nipples)" in said


@pytest.mark.parametrize(
    "metadata",
    [
        {"modelspec.trigger_phrase": "shota"},
        {"modelspec.description": "a 12 year old"},
        {"ss_dataset_dirs": json.dumps({"10_toddler": {"n_repeats": 10, "img_count": 9}})},
        {"ss_output_name": "loli_v2"},
        {"ss_tag_frequency": '{"1_pictures": {"child": Infinity}}'},
        {"ss_tag_frequency": "child, 1girl"},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
def test_all_that_a_file_states_of_itself_counts_beside_a_prompt(refused, stating, base, metadata, tmp_path):
    lora = stating("stated", **metadata)
    assert "codes a minor" in refused(
        "sample", base, "--lora", lora, "--prompt", "1girl, nude", "--out", tmp_path / "p"
    )


def test_a_prompt_alone_is_refused(refused, base, tmp_path):
    assert "'a nude, young girl' codes a minor (young)" in refused(
        "sample", base, "--prompt", "a nude, young girl", "--out", tmp_path / "p"
    )


def test_file_names_count(refused, stating, base, tmp_path):
    said = refused("merge", base, stating("toddler_style"), tmp_path / "nsfw-model.safetensors")
    assert "the name toddler_style.safetensors codes a minor" in said
    assert "the name nsfw-model.safetensors is sexual" in said


def test_a_name_says_nothing_of_the_folders_above_it(stating):
    folder = stating("plain").parent / "nude" / "child"
    folder.mkdir(parents=True)
    assert [said.text for said in stated_in(folder / "missing.safetensors", "missing.safetensors")] == []


def test_the_base_of_a_merge_is_asked_too(refused, stating, base, tmp_path):
    stated = tmp_path / "stated.safetensors"
    with safe_open(base, "pt") as file:
        metadata = dict(file.metadata() or {})
    save_file(load_file(base), stated, {**metadata, "modelspec.tags": "hentai, nsfw"})
    assert "modelspec.tags of stated.safetensors is sexual" in refused(
        "merge", stated, stating("young", ("child",)), tmp_path / "out.safetensors"
    )


def test_an_extracted_lora_is_refused_for_what_its_models_state(refused, base, tmp_path):
    tuned = tmp_path / "loli.safetensors"
    save_file(load_file(base), tuned, {"modelspec.description": "explicit content"})
    assert "loli.safetensors codes a minor" in refused("lora", "extract", base, tuned, tmp_path / "out.safetensors")


def test_a_negative_prompt_says_what_is_not_wanted_and_is_not_asked(base, tmp_path, monkeypatch):
    options = ("--negative", "nsfw, nude, loli, child", "--steps", "1", "--width", "64", "--height", "64")
    words = ["sample", str(base), "--prompt", "1girl", *options, "--device", "cpu", "--out", str(tmp_path / "p")]
    monkeypatch.setattr(sys, "argv", ["headcanon", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert (tmp_path / "p" / "1-1.png").is_file()


def test_what_others_wrote_cannot_break_the_line_of_a_refusal(refused, stating, base, tmp_path):
    lora = stating("odd", ("child\n\x1b[31m" + "x" * 500,))
    said = refused("sample", base, "--lora", lora, "--prompt", "nude, second line", "--out", tmp_path / "p")
    assert "\x1b" not in said
    assert len(said) < 400


def test_a_file_of_one_side_alone_passes(stating):
    for tags in (("child", "smile"), ("nude", "1girl")):
        check_content((), [Said("", text.text) for text in stated_in(stating("one", tags), "one.safetensors")])
