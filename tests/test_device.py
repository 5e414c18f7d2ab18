"""Devices, number formats, randomness from counters."""

import pytest
import torch

from lora_core.device import (
    counter_generator,
    numerics,
    pick_device,
    pick_dtype,
    size_bytes,
    training_memory_bytes,
    use_threads,
)
from lora_core.errors import RecipeError


def test_the_cpu_is_always_there() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")


def test_unknown_devices_and_formats_are_refused() -> None:
    with pytest.raises(RecipeError, match="'gpu' is unknown"):
        pick_device("gpu")
    with pytest.raises(RecipeError, match="'int8' is unknown"):
        pick_dtype("int8", torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_this_machine_lacks_is_refused() -> None:
    with pytest.raises(RecipeError, match="torch sees none"):
        pick_device("cuda")


def test_a_cpu_computes_in_float32_unless_told() -> None:
    cpu = torch.device("cpu")
    assert pick_dtype("auto", cpu) == torch.float32
    assert pick_dtype("bf16", cpu) == torch.bfloat16
    with pytest.raises(RecipeError, match="needs a GPU"):
        pick_dtype("fp16", cpu)


def test_a_generator_depends_on_its_counters_alone() -> None:
    def draw(*counters: int) -> torch.Tensor:
        return torch.randn(4, generator=counter_generator(*counters))

    assert torch.equal(draw(1, 2, 3), draw(1, 2, 3))
    assert not torch.equal(draw(1, 2, 3), draw(1, 23))
    assert not torch.equal(draw(1, 2, 3), draw(1, 2, 4))


def test_numerics_tell_the_thread_count() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(1)
        assert numerics()["threads"] == "1"
    finally:
        use_threads(before)


def test_sizes_are_counted_in_bytes() -> None:
    assert size_bytes([torch.zeros(3, 4), torch.zeros(2, dtype=torch.float16, device="meta")]) == 52


def test_the_memory_of_a_training_is_its_weights_its_lora_and_what_the_backward_pass_needs() -> None:
    frozen = torch.nn.Linear(10, 10, bias=False, device="meta")
    few, many = (
        training_memory_bytes([frozen], 80, pixels=64, batch=batch, width=2, saved_maps=300) for batch in (1, 3)
    )
    assert few == 10 * 10 * 4 + 80 + 2 * 300 * 4
    assert many - few == 2 * 2 * 300 * 4
