"""What runs find in their environment: what they need, not every secret of whoever started the worker."""

from collections.abc import MutableMapping

_NEEDED = frozenset(
    (
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "TEMP", "TMP",
        "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "CC", "CXX", "DO_NOT_TRACK", "NO_COLOR",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA",
    )
)  # fmt: skip
# Ours, Prefect's, the hub's and the bucket's with their credentials; then how the machine computes.
_PREFIXES = (
    "HEADCANON_", "PREFECT_", "HF_", "HUGGINGFACE_", "AWS_",
    "PYTHON", "LC_", "XDG_", "SSL_", "TRANSFORMERS_", "DIFFUSERS_", "TOKENIZERS_",
    "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "HIP_", "HSA_", "ROCR_", "ROCM_",
    "TORCH", "PYTORCH_", "TRITON_", "ATEN_", "ORT_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_",
)  # fmt: skip
# Of these, what only `headcanon up` and the server need: the database with its password, the webhook's address.
_OTHERS = ("HEADCANON_DATABASE", "HEADCANON_NOTIFY", "PREFECT_SERVER_", "PREFECT_API_DATABASE_")


def is_needed(name: str) -> bool:
    """Whether runs need a variable."""
    upper = name.upper()  # proxies are set in small letters too
    return (upper in _NEEDED or upper.startswith(_PREFIXES)) and not upper.startswith(_OTHERS)


def keep_what_runs_need(environment: MutableMapping[str, str]) -> None:
    """Take everything else away; a worker's runs inherit what is left."""
    for name in [name for name in environment if not is_needed(name)]:
        del environment[name]
