"""How a picture was made, in the words web UIs read back: A1111's `parameters` text inside the PNG."""

from PIL import Image

from lora_core.images import png
from lora_core.recipe import Sampling
from lora_core.sampling.schedulers import SAMPLER_NAMES
from lora_core.sampling.shot import Shot


def infotext(
    shot: Shot,
    options: Sampling,
    lora: str = "",
    weight: float = 1.0,
    *,
    clip_skip: int = 1,
    zero_terminal_snr: bool = False,
    model: str = "",
) -> str:
    """A1111's "generation parameters": prompt, negative prompt, settings, one line each.

    Args:
        shot: Prompt, negative prompt and seed.
        options: Steps, sampler (not "auto"), CFG scale and size.
        lora: Name of the LoRA without extension; empty when there was none.
        weight: Its strength.
        clip_skip: Layer of the text encoder, counted from the end.
        zero_terminal_snr: Whether the base's noise schedule is rescaled.
        model: Name of the base model; empty: not stated.
    """
    denoise = options.hires_denoise if options.hires > 1 else shot.denoise
    prompt = shot.prompt + (f" {lora_call(lora, weight)}" if lora else "")
    settings = {
        "Steps": str(options.steps),
        "Sampler": SAMPLER_NAMES[options.scheduler],
        "Schedule type": "Uniform" if options.scheduler == "dpmpp_2m" else "",  # else A1111 1.9 takes Karras
        "CFG scale": f"{options.cfg:g}",
        "Seed": str(shot.seed),
        "Size": f"{options.width}x{options.height}",
        "Denoising strength": f"{denoise:g}" if denoise is not None else "",
        "Hires upscale": f"{options.hires:g}" if options.hires > 1 else "",
        "Hires upscaler": "Lanczos" if options.hires > 1 else "",
        "Model": model.replace(",", " ").replace(":", " "),
        "Clip skip": str(clip_skip) if clip_skip > 1 else "",
        "Rescale CFG": f"{options.cfg_rescale:g}" if options.cfg_rescale else "",
        "Noise Schedule": "Zero Terminal SNR" if zero_terminal_snr else "",
        "RNG": "CPU",
    }
    lines = [prompt]
    if shot.negative:
        lines.append(f"Negative prompt: {shot.negative}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items() if value))
    return "\n".join(lines)


def lora_call(name: str, weight: float) -> str:
    """What calls a LoRA in a web UI's prompt."""
    return f"<lora:{name}:{weight:g}>"


def png_bytes(picture: Image.Image, parameters: str) -> bytes:
    """A PNG with the infotext in it; equal pictures and texts give equal bytes."""
    return png.png_bytes(picture, {"parameters": parameters})
