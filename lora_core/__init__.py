"""The library behind headcanon: pictures, captions, LoRA training, merging, sampling. Knows nothing of Prefect."""

import os

# onnxruntime tells its maker of every session, and keeps a number of the machine for that, unless this is set first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
