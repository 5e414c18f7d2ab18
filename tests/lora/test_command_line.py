"""The LoRA commands as users meet them: what they write, and one clear line with exit status 2 for each mistake."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_disk import SmallDisk

from flows.cli import main
from lora_core.lora.file import read_lora
from lora_core.lora.inspect import inspect_file


class Command:
    """The `headcanon` command, called in this process through its entry point."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *words: object) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        self._monkeypatch.setattr(sys, "argv", ["headcanon", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    def done(self, *words: object) -> str:
        """What it says when all is well."""
        status, out, err = self.run(*words)
        assert status == 0, err
        return out

    def refused(self, *words: object) -> str:
        """The one line it says for a mistake."""
        status, _, err = self.run(*words)
        lines = [line for line in err.splitlines() if line.startswith("headcanon: ")]
        assert (status, len(lines)) == (2, 1), err
        assert "Traceback" not in err
        return lines[0]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_every_lora_command_helps_with_examples_and_loads_nothing_heavy() -> None:
    check = "import sys; import flows.cli.app; assert not {'torch', 'prefect', 'diffusers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize("name", ["add", "subtract", "resize", "extract", "convert"])
def test_help_has_examples(command: Command, name: str) -> None:
    assert f"headcanon lora {name} " in command.done("lora", name, "--help")


def test_loras_are_added_subtracted_and_resized(command: Command, made: Any, tmp_path: Path) -> None:
    a, b = made["sd1"].lora, made["sd1"].other_rank
    said = command.done("lora", "add", a, b, tmp_path / "ab.safetensors", "--weight", 1, "--weight", 0.5)
    assert "rank 7, 100.00% of the energy kept" in said
    said = command.done("lora", "subtract", tmp_path / "ab.safetensors", a, tmp_path / "b.safetensors", "--rank", 3)
    assert "rank 3, 100.00%" in said
    half = read_lora(tmp_path / "b.safetensors").modules
    for name, module in read_lora(b).modules.items():
        expected = 0.5 * module.scale * module.up.flatten(1) @ module.down.flatten(1)
        found = half[name].scale * half[name].up.flatten(1) @ half[name].down.flatten(1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    command.done("lora", "resize", a, tmp_path / "small.safetensors", "--rank", 2, "--precision", "bf16")
    assert inspect_file(tmp_path / "small.safetensors").ranks == (2,)
    assert inspect_file(tmp_path / "small.safetensors").dtypes == ("BF16",)
    said = command.done("lora", "resize", a, tmp_path / "energy.safetensors", "--energy", 0.9)
    assert " modules, rank " in said


def assert_nothing(path: Path) -> None:
    """A LoRA that is read, and changes no weight."""
    for module in read_lora(path).modules.values():
        change = module.scale * module.up.flatten(1).double() @ module.down.flatten(1).double()
        torch.testing.assert_close(change, torch.zeros_like(change), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(), ("--rank", 2), ("--energy", 0.9)])
@pytest.mark.parametrize("weight", [1.0, 1e-3, 1e-320])
def test_weights_that_cancel_leave_a_lora_of_zeros(
    command: Command, made: Any, tmp_path: Path, weight: float, size: tuple[object, ...]
) -> None:
    a, out = made["sd1"].lora, tmp_path / "nothing.safetensors"
    command.done("lora", "add", a, a, out, "--weight", weight, "--weight", -weight, *size)
    assert_nothing(out)
    command.done("lora", "resize", out, tmp_path / "smaller.safetensors", "--rank", 1)
    assert_nothing(tmp_path / "smaller.safetensors")
    sum_of_both = ("lora", "add", out, made["sd1"].other_rank, tmp_path / "sum.safetensors")
    command.done(*sum_of_both)
    command.done(
        "lora", "subtract", tmp_path / "sum.safetensors", made["sd1"].other_rank, tmp_path / "again.safetensors"
    )
    assert_nothing(tmp_path / "again.safetensors")


def test_a_weight_of_zero_adds_nothing_and_takes_nothing_away(command: Command, made: Any, tmp_path: Path) -> None:
    a, b, base = made["sd1"].lora, made["sd1"].other_rank, made["sd1"].single
    for zero in (0, -0.0):
        command.done("lora", "add", a, b, tmp_path / f"{zero}.safetensors", "--weight", 1, "--weight", zero)
        command.done("lora", "subtract", a, b, tmp_path / f"less{zero}.safetensors", "--weight", zero)
        for name in (f"{zero}", f"less{zero}"):
            command.done("lora", "add", a, tmp_path / f"{name}.safetensors", out := tmp_path / f"{name}-a.safetensors",
                         "--weight", -1, "--weight", 1)  # fmt: skip
            assert_nothing(out)
        command.done("merge", base, a, b, tmp_path / f"merged{zero}.safetensors", "--weight", zero)
        before, after = load_file(base), load_file(tmp_path / f"merged{zero}.safetensors")
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert "every weight is 0" in command.refused("lora", "add", a, b, tmp_path / "none", "--weight", zero)
    assert "there is nothing to extract" in command.refused(
        "lora", "extract", base, tmp_path / "merged0.safetensors", tmp_path / "none"
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", [("lora", "add"), ("lora", "subtract"), ("merge",)])
def test_a_weight_that_no_file_holds_is_one_line(
    command: Command, made: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    files = made["sd1"]
    first = files.single if words == ("merge",) else files.other_rank
    assert "finite" in command.refused(*words, first, files.lora, tmp_path / "out", "--weight", 1e300)
    assert not list(tmp_path.iterdir())


def test_several_loras_are_merged_with_weights_of_their_own(command: Command, made: Any, tmp_path: Path) -> None:
    files = made["sd1"]
    out, once, twice = (tmp_path / f"{name}.safetensors" for name in ("out", "once", "twice"))
    command.done("merge", files.single, files.lora, files.other_rank, out, "--weight", 0.5, "--weight", -1)
    command.done("merge", files.single, files.lora, once, "--weight", 0.5)
    command.done("merge", once, files.other_rank, twice, "--weight", "-1")
    found, expected = load_file(out), load_file(twice)
    for key in found:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-5, atol=1e-6)
    notes = [json.loads(inspect_file(path).metadata["headcanon.merged"]) for path in (out, twice)]
    assert notes[0] == notes[1]
    assert [each["weight"] for each in notes[0]] == [0.5, -1.0]


def test_what_was_extracted_and_converted_is_a_lora(command: Command, made: Any, tmp_path: Path) -> None:
    files, merged = made["sdxl"], tmp_path / "merged.safetensors"
    command.done("merge", files.single, files.lora, merged)
    said = command.done("lora", "extract", files.single, merged, tmp_path / "found.safetensors", "--rank", 4)
    assert "rank 4, 100.00% of the energy kept" in said
    command.done("lora", "convert", tmp_path / "found.safetensors", tmp_path / "d.safetensors", "--to", "diffusers")
    command.done("lora", "convert", tmp_path / "d.safetensors", tmp_path / "k.safetensors", "--to", "kohya")
    assert (tmp_path / "k.safetensors").read_bytes() == (tmp_path / "found.safetensors").read_bytes()
    assert "a LoRA in diffusers' naming" in command.done("inspect", tmp_path / "d.safetensors")


def test_a_name_that_is_taken_is_refused_and_the_same_work_again_is_fine(
    command: Command, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    for words in (
        ("lora", "add", made["sd1"].lora, made["sd1"].other_rank, out),
        ("lora", "subtract", made["sd1"].lora, made["sd1"].other_rank, out),
        ("lora", "resize", made["sd1"].lora, out, "--rank", 2),
        ("lora", "convert", made["sd1"].lora, out, "--to", "diffusers"),
        ("merge", made["sd1"].single, made["sd1"].lora, out),
    ):
        assert "out.safetensors: exists with other content and is never overwritten" in command.refused(*words)
    assert out.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]
    out.unlink()
    for _ in range(2):
        command.done("lora", "resize", made["sd1"].lora, out, "--rank", 2)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


def truncated(source: Path, path: Path) -> None:
    path.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])


def lying_length(source: Path, path: Path) -> None:
    """The header says that it is longer than the file."""
    path.write_bytes((source.stat().st_size * 2).to_bytes(8, "little") + source.read_bytes()[8:])


def lying_table(source: Path, path: Path) -> None:
    """The header says that the last tensor is a row longer than its bytes are."""
    data = source.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    last = max((key for key in table if key != "__metadata__"), key=lambda key: table[key]["data_offsets"])
    table[last]["shape"] = [2, *table[last]["shape"]]
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def lying_place(source: Path, path: Path) -> None:
    """The header says that the last tensor's bytes lie behind the end of the file."""
    data = source.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    last = max((key for key in table if key != "__metadata__"), key=lambda key: table[key]["data_offsets"])
    table[last]["data_offsets"] = [offset + (1 << 40) for offset in table[last]["data_offsets"]]
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def changed(change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Callable[[Path, Path], None]:
    """A file whose tensors went through a function; None leaves a tensor out."""

    def write(source: Path, path: Path) -> None:
        found = {key: change(key, tensor) for key, tensor in load_file(source).items()}
        save_file({key: tensor for key, tensor in found.items() if tensor is not None}, path)

    return write


def broken_number(part: str, number: float) -> Callable[[Path, Path], None]:
    """One number of one tensor is NaN or infinite."""

    def change(key: str, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        if key.endswith(part):
            tensor.view(-1)[-1] = number
        return tensor

    return changed(change)


def renamed(old: str, new: str) -> Callable[[Path, Path], None]:
    """A file whose tensors have other names."""

    def write(source: Path, path: Path) -> None:
        save_file({key.replace(old, new): tensor for key, tensor in load_file(source).items()}, path)

    return write


def eight_bits(key: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.float8_e4m3fn) if tensor.ndim > 1 and tensor.is_floating_point() else tensor


def pickled(source: Path, path: Path) -> None:
    """A pickle under a name that says safetensors."""
    path.write_bytes(pickle.dumps({"state_dict": {"source": source.name}}))


def zipped_pickle(source: Path, path: Path) -> None:
    """What torch.save writes since 1.6."""
    torch.save({"state_dict": {}}, path)


BROKEN_FILES = [
    pytest.param(truncated, "cut off", id="truncated"),
    pytest.param(lying_length, "not a whole safetensors file", id="header longer than the file"),
    pytest.param(lying_table, "its safetensors header is wrong", id="shape larger than the bytes"),
    pytest.param(lying_place, "its safetensors header is wrong", id="bytes behind the end"),
    pytest.param(pickled, "this is a pickle", id="pickle"),
    pytest.param(zipped_pickle, "this is a pickle", id="zipped pickle"),
]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        *BROKEN_FILES,
        pytest.param(changed(eight_bits), "is stored as F8_E4M3", id="fp8"),
        pytest.param(broken_number("attn1.to_k.weight", torch.nan), "not finite (NaN or infinity)", id="NaN"),
        pytest.param(broken_number("decoder.conv_out.weight", torch.nan), "decoder.conv_out", id="NaN in the VAE"),
        pytest.param(broken_number("final_layer_norm.bias", torch.inf), "final_layer_norm", id="infinity"),
    ],
)
def test_a_broken_base_is_named_in_one_line(
    command: Command, made: Any, tmp_path: Path, spoil: Callable[[Path, Path], None], words: str
) -> None:
    base = tmp_path / "base.safetensors"
    spoil(made["sd1"].single, base)
    line = command.refused("merge", base, made["sd1"].lora, tmp_path / "out.safetensors")
    assert "base.safetensors" in line
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] == ["base.safetensors"]


def test_a_broken_model_is_named_by_extract_too(command: Command, made: Any, tmp_path: Path) -> None:
    for number, (spoil, words) in enumerate(
        [(truncated, "cut off"), (changed(eight_bits), "F8_E4M3"), (broken_number("to_k.weight", torch.nan), "NaN")]
    ):
        tuned = tmp_path / f"tuned-{number}.safetensors"
        spoil(made["sd1"].single, tuned)
        line = command.refused("lora", "extract", made["sd1"].single, tuned, tmp_path / "out.safetensors")
        assert tuned.name in line
        assert words in line
        assert not (tmp_path / "out.safetensors").exists()


def test_averaged_weights_that_nothing_reads_may_hold_anything(command: Command, made: Any, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    broken_number("model_ema.decay", torch.nan)(made["sd1"].single, base)
    command.done("merge", base, made["sd1"].lora, tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        *BROKEN_FILES,
        pytest.param(changed(eight_bits), "is stored as F8_E4M3", id="fp8"),
        pytest.param(broken_number(".lora_up.weight", torch.nan), "not finite (NaN or infinity)", id="NaN"),
        pytest.param(
            changed(lambda key, tensor: tensor * 0 if key.endswith(".alpha") else tensor), "alpha is 0", id="alpha of 0"
        ),
        pytest.param(
            changed(lambda key, tensor: None if key.endswith("mlp_fc1.lora_up.weight") else tensor),
            "has no lora_up.weight", id="half a module",
        ),
        *(
            pytest.param(renamed(".lora_up.weight", half), "read are whole LoRAs, DoRAs, LoHas and LoKrs", id=half)
            for half in (".dora_scale", ".hada_w1_a", ".lokr_w1")
        ),
    ],
)  # fmt: skip
def test_a_broken_lora_is_named_in_one_line_by_every_command(
    command: Command, made: Any, tmp_path: Path, spoil: Callable[[Path, Path], None], words: str
) -> None:
    lora, out = tmp_path / "broken.safetensors", tmp_path / "out.safetensors"
    spoil(made["sd1"].lora, lora)
    for command_words in (
        ("merge", made["sd1"].single, lora, out),
        ("lora", "add", made["sd1"].lora, lora, out),
        ("lora", "subtract", lora, made["sd1"].lora, out),
        ("lora", "resize", lora, out, "--rank", 2),
        ("lora", "convert", lora, out, "--to", "diffusers"),
    ):
        line = command.refused(*command_words)
        assert "broken.safetensors" in line
        assert words in line
        assert [path.name for path in tmp_path.iterdir()] == ["broken.safetensors"]


def test_a_lora_for_another_architecture_is_refused(command: Command, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    line = command.refused("merge", made["sd1"].single, made["sdxl"].lora, out)
    assert "this LoRA was trained on sdxl, the base is sd1" in line
    line = command.refused("merge", made["sdxl"].single, made["sd1"].lora, out)
    assert "this LoRA was trained on sd1 or sd2, the base is sdxl" in line
    line = command.refused("lora", "add", made["sd1"].lora, made["sdxl"].lora, out)
    assert "name LoRAs of one architecture" in line
    name = "lora_unet_double_blocks_0_img_attn_proj"
    flux = {f"{name}.lora_down.weight": torch.ones(1, 4), f"{name}.lora_up.weight": torch.ones(4, 1)}
    save_file(flux, tmp_path / "flux.safetensors")
    line = command.refused("merge", made["sd1"].single, tmp_path / "flux.safetensors", out)
    assert "this LoRA was trained on flux, the base is sd1" in line
    assert not out.exists()


def test_a_mistake_in_the_options_is_refused(command: Command, made: Any, tmp_path: Path) -> None:
    lora, out = made["sd1"].lora, tmp_path / "out.safetensors"
    assert "needs a rank or an energy" in command.refused("lora", "resize", lora, out)
    assert "2 weights for 1 LoRA files" in command.refused(
        "merge", made["sd1"].single, lora, out, "--weight", 1, "--weight", 2
    )
    assert "are the same LoRA" in command.refused("lora", "subtract", lora, lora, out)
    assert "there is no such file" in command.refused("lora", "extract", made["sd1"].single, "none.safetensors", out)
    assert "cannot be read" in command.refused("lora", "resize", tmp_path / "none.safetensors", out, "--rank", 2)
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_is_no_number_is_refused(command: Command, made: Any, tmp_path: Path) -> None:
    files, out = made["sd1"], tmp_path / "out.safetensors"
    for words in (
        ("merge", files.single, files.lora, out, "--weight", "nan"),
        ("lora", "add", files.lora, files.other_rank, out, "--weight", "inf"),
        ("lora", "subtract", files.lora, files.other_rank, out, "--weight", "nan"),
    ):
        assert "is no number; give one such as 0.8" in command.refused(*words)
    assert list(tmp_path.iterdir()) == []


# ── no room ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def large_work(made: Any, out: Path) -> list[tuple[object, ...]]:
    """Commands whose files do not fit 64 KiB."""
    files = made["sd1"]
    return [
        ("merge", files.single, files.lora, out),
        ("lora", "add", *[files.lora] * 8, out),
        ("lora", "convert", files.lora, out, "--to", "diffusers"),
    ]


def test_a_disk_without_room_is_told_before_the_work(
    command: Command, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "here" / "out.safetensors"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    for words in large_work(made, out):
        line = command.refused(*words)
        assert "MB are needed there, 0.1 MB are free; free some space or choose another folder" in line
        assert list((tmp_path / "here").iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_half_written_stays(
    command: Command, made: Any, small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 40))
    disk = small_disk(64)
    for words in large_work(made, disk / "out.safetensors"):
        assert "the disk is full; free some space and run the same command again" in command.refused(*words)
        assert list(disk.iterdir()) == []
