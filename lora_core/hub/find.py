"""Finding the files of a model: a local path first, else a hub repository at a pinned commit."""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lora_core.bounded import MODEL_BYTES, check_size
from lora_core.errors import CheckpointError, TaggerError, UserError
from lora_core.hub.catalog import catalog
from lora_core.hub.formats import read_header

_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
_TEXTS = ("model_index.json", "scheduler/scheduler_config.json")
_STEMS = ("diffusion_pytorch_model", "model")
_VARIANTS = ("", ".fp16", ".bf16", ".fp32", ".non_ema", ".ema")
_SHARD = "-?????-of-?????"
WEIGHTS = tuple(
    f"{{part}}/{stem}{ending}.safetensors"
    for variant in _VARIANTS
    for ending in dict.fromkeys((variant, f"{variant}{_SHARD}", f"{_SHARD}{variant}"))
    for stem in _STEMS
)
"""The namings of a part's weights, the one that is taken first at the front: plain before a variant, whole before
shards."""
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)(?=(-\d{5}-of-\d{5})?\.(safetensors|json)$)")
_TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
_FAST_TOKENIZER = "tokenizer.json"
"""All that newer transformers save of a tokenizer's vocabulary; beside the older two files it says nothing new."""
TAGGER_FILES = ("model.onnx", "selected_tags.csv")
MODEL_TEXTS = (
    *_TEXTS,
    *(f"{part}/config.json" for part in _PARTS),
    *(f"{part}/{name}" for part in ("tokenizer", "tokenizer_2") for name in (*_TOKENIZER, _FAST_TOKENIZER)),
)
"""The small files of a diffusers folder."""
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_SMALL = (".json", ".txt", ".md")
_COMMIT = re.compile(r"[0-9a-f]{40}")


OTHER_VAE = "other_vae/"
"""Where a VAE in a file of its own stands among a base model's files."""


OWN_WORDS = "words/"
"""Where embeddings of words of one's own stand among a base model's files, each called by its word."""


def own_files(files: Mapping[str, Path]) -> dict[str, Path]:
    """A base model's files without another VAE or words beside them."""
    return {name: path for name, path in files.items() if not name.startswith((OTHER_VAE, OWN_WORDS))}


def find_model_files(model: str, revision: str, vae: str = "") -> dict[str, Path]:
    """The files of a base model, relative name → path; only those that are needed.

    Args:
        model: a .safetensors file in the original layout, a diffusers folder, or a hub repository `owner/name`.
        revision: the commit, for a repository.
        vae: a VAE's file, to be used in place of the model's own; it stands under `OTHER_VAE`.

    Raises:
        CheckpointError: nothing is there, it is a pickle, parts are missing, or a repository has no revision.
    """
    files = _own_files(model, revision)
    if not vae:
        return files
    path = Path(vae).expanduser()
    if path.is_dir():
        path /= "diffusion_pytorch_model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{vae}: there is no such VAE; name its .safetensors file, or diffusers' vae/ folder")
    read_header(path, str(path))
    return files | {OTHER_VAE + path.name: path}


def _own_files(model: str, revision: str) -> dict[str, Path]:
    path = Path(model).expanduser()
    if path.is_file():
        read_header(path, str(path))
        return {path.name: path}
    if path.is_dir():
        return _folder_files(path, model)
    patterns = [*MODEL_TEXTS, *(pattern.format(part=part) for part in _PARTS for pattern in WEIGHTS)]
    return _from_hub(model, revision, patterns, lambda folder: _folder_files(folder, model), "base", CheckpointError)


def find_tagger_files(model: str, revision: str) -> dict[str, Path]:
    """The files of a tagger in WD14's format: `model.onnx` and `selected_tags.csv`.

    Args:
        model: a folder or a hub repository.
        revision: the commit, for a repository.

    Raises:
        TaggerError: nothing is there, or a repository has no revision.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _tagger_files(path, model)
    return _from_hub(model, revision, TAGGER_FILES, lambda folder: _tagger_files(folder, model), "tagger", TaggerError)


def _tagger_files(folder: Path, model: str) -> dict[str, Path]:
    for name in TAGGER_FILES:
        if not (folder / name).is_file():
            raise TaggerError(f"{model}: {name} is missing; a tagger is a folder with {' and '.join(TAGGER_FILES)}")
        check_size(folder / name, MODEL_BYTES, TaggerError)
    return {name: folder / name for name in TAGGER_FILES}


def _folder_files(folder: Path, model: str) -> dict[str, Path]:
    singles = sorted(folder.glob("*.safetensors"))
    if not (folder / "unet" / "config.json").is_file():
        if len(singles) == 1:
            return find_model_files(str(singles[0]), "")
        if (folder / "transformer" / "config.json").is_file():
            raise CheckpointError(
                f"{model}: this looks like Stable Diffusion 3, Flux or another model with transformer/ in the place of "
                "unet/; a Stable Diffusion 1, 2 or XL model is needed"
            )
        raise CheckpointError(
            f"{model}: no diffusers folder (unet/config.json is missing)"
            + (f" but {len(singles)} .safetensors files; name one of them" if singles else "")
        )
    files = {name: folder / name for name in _TEXTS}
    for part in _PARTS:
        if part != "text_encoder_2" or (folder / part).is_dir():
            files |= {f"{part}/config.json": folder / part / "config.json"}
            files |= _weights(folder, part, model)
    for part in ("tokenizer", "tokenizer_2"):
        names = _TOKENIZER if (folder / part / _TOKENIZER[0]).is_file() else (*_TOKENIZER, _FAST_TOKENIZER)
        files |= {f"{part}/{name}": folder / part / name for name in names}
    return {name: path for name, path in files.items() if path.is_file()}


def _weights(folder: Path, part: str, model: str) -> Mapping[str, Path]:
    """The weights of one part: the first of the known namings that is there."""
    for pattern in WEIGHTS:
        if found := sorted(folder.glob(pattern.format(part=part))):
            _refuse_missing_shards([path.name for path in found], f"{model}: {part}/")
            for path in found:
                read_header(path, str(path))
            return {f"{part}/{path.name}": path for path in found}
    for path in sorted((folder / part).glob("*")):
        if path.suffix in (".bin", ".ckpt", ".pt", ".pth"):
            read_header(path, str(path))
    raise CheckpointError(f"{model}: {part}/ holds no .safetensors weights; get the whole diffusers folder")


def _refuse_missing_shards(names: Sequence[str], where: str) -> None:
    """Refuse weights in several files of which some are not there.

    Raises:
        CheckpointError: the first that is missing is named.
    """
    if found := _NUMBERED.fullmatch(names[0]):
        wanted = [f"{found[1]}-{n:05}-of-{found[3]}{found[4]}" for n in range(1, int(found[3]) + 1)]
        if missing := [name for name in wanted if name not in names]:
            raise CheckpointError(
                f"{where}{missing[0]} is missing: the weights are in {len(wanted)} files, {len(missing)} of which are "
                "not there; get the whole folder"
            )


def companions(model: str, files: Mapping[str, Path]) -> dict[str, Path]:
    """What else a diffusers folder needs to be opened by diffusers: indexes of shards, and small parts such as
    feature_extractor/, by their names.

    Args:
        model: what the user names; of anything but a folder there is none.
        files: from `find_model_files`.
    """
    folder = Path(model).expanduser()
    if "model_index.json" not in files or not folder.is_dir():
        return {}
    found = {str(path.relative_to(folder)): path for path in folder.glob("*/*.safetensors.index*.json")}
    for part in folder.iterdir():
        inside = sorted(part.iterdir()) if part.is_dir() and part.name not in _PARTS else []
        if all(path.is_file() and path.suffix in _SMALL for path in inside):
            found |= {f"{part.name}/{path.name}": path for path in inside}
    shards = {name for name in found if ".index" in name and not _is_of(name, files)}
    return {name: path for name, path in found.items() if name not in files and name not in shards}


def plain_name(name: str) -> str:
    """A weight file's or index's name without a variant's, by which diffusers opens it unasked."""
    return _VARIANT.sub("", name)


def without_variant(files: Mapping[str, Path]) -> dict[str, Path]:
    """A folder's files by their plain names; a VAE, which no LoRA changes, by the variant's too.

    diffusers opens the folder with `variant=` as well then: it takes the variant of the parts that have one.
    """
    return {name: path for name, path in files.items() if name.startswith("vae/")} | {
        plain_name(name): path for name, path in files.items()
    }


def _is_of(index: str, files: Mapping[str, Path]) -> bool:
    """Whether an index is that of the weights that were chosen."""
    part = index.partition("/")[0]
    variant = (re.search(r"index(\.\w+)?\.json$", index) or [""])[0]
    mark = variant.removeprefix("index").removesuffix(".json")
    return any(_NUMBERED.fullmatch(Path(name).name) and mark in name for name in files if name.startswith(f"{part}/"))


def _from_hub(
    model: str,
    revision: str,
    patterns: Sequence[str],
    files_in: Callable[[Path], dict[str, Path]],
    field: str,
    error: type[UserError],
) -> dict[str, Path]:
    """A repository's files at a commit: from the cache if all are there, else downloaded."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        path = Path(model)
        hint = f"; `headcanon models get {path.name} --into {path.parent}` gets it" if path.name in catalog() else ""
        raise error(f"{model}: there is no such file or folder, and it is no hub repository (owner/name){hint}")
    if not _COMMIT.fullmatch(revision):
        got = f"{field}.revision is {revision!r}" if revision else f"{field}.revision is not set"
        raise error(
            f"{model}: there is no such file or folder; to take the hub repository of that name its commit must be "
            f"named, and {got}: 40 hexadecimal digits, on the repository's page under 'History'; or "
            f"`headcanon models get {model}` gets it into a folder, to be named instead"
        )
    from huggingface_hub import snapshot_download  # slow to import, and most runs never need it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    allowed = list(patterns)
    with contextlib.suppress(LocalEntryNotFoundError, error):
        return files_in(
            Path(snapshot_download(model, revision=revision, allow_patterns=allowed, local_files_only=True))
        )
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=allowed))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise error(f"{model}@{revision[:12]}: cannot be downloaded ({reason})") from problem
    return files_in(folder)
