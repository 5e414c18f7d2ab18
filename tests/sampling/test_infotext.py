"""The text web UIs read back from a picture."""

from io import BytesIO

from PIL import Image

from lora_core.recipe import Sampling
from lora_core.sampling.infotext import infotext, png_bytes
from lora_core.sampling.shot import Begin, Shot

OPTIONS = Sampling(steps=20, cfg=7.5, width=512, height=768, scheduler="euler_a")


def test_the_text_is_in_the_form_that_a1111_writes() -> None:
    text = infotext(Shot("1girl", "lowres", 7), OPTIONS, "Mira", 0.8, clip_skip=2, model="animefull")
    assert text == (
        "1girl <lora:Mira:0.8>\n"
        "Negative prompt: lowres\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 7, Size: 512x768, Model: animefull, Clip skip: 2, RNG: CPU"
    )


def test_what_changes_a_picture_stands_in_the_text() -> None:
    rescaled = OPTIONS.model_copy(update={"scheduler": "euler", "cfg_rescale": 0.7})
    settings = infotext(Shot("a", "", 1), rescaled, zero_terminal_snr=True).splitlines()[-1]
    assert settings.endswith("Rescale CFG: 0.7, Noise Schedule: Zero Terminal SNR, RNG: CPU")
    uniform = OPTIONS.model_copy(update={"scheduler": "dpmpp_2m"})
    assert "Sampler: DPM++ 2M, Schedule type: Uniform, " in infotext(Shot("a", "", 1), uniform)


def test_a_prompt_stands_in_the_text_as_it_was_written() -> None:
    assert infotext(Shot(r"a (b:1.2) \(c\)", "", 1), OPTIONS).splitlines()[0] == r"a (b:1.2) \(c\)"


def test_a_picture_keeps_its_text_in_any_script() -> None:
    for text in ("1girl\nSteps: 20", "脳内キャラ"):
        with Image.open(BytesIO(png_bytes(Image.new("RGB", (8, 8), "#336699"), text))) as picture:
            picture.load()  # checks every chunk's sum
            assert picture.info["parameters"] == text
            assert picture.getpixel((7, 7)) == (0x33, 0x66, 0x99)


def test_a_picture_that_begins_with_another_says_its_denoising_strength() -> None:
    begun = Shot("a", "", 1, Begin("0" * 64, 0.6, Image.new))
    assert ", Size: 512x768, Denoising strength: 0.6, " in infotext(begun, OPTIONS)
    assert "Denoising" not in infotext(Shot("a", "", 1), OPTIONS)
