"""The library behind headcanon: pictures, captions, LoRA training, merging, sampling. Knows nothing of Prefect."""
