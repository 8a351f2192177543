"""Save and load checkpoints: the trained parameters, the config and the backbones' identities."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from layalign.durable import let_others_read, replace_file
from layalign.embedded import shipped_checkpoints
from layalign.errors import CheckpointError, ConfigError, reason
from layalign.model.backbones import load_backbones
from layalign.model.card import CARD_NAME, make_card
from layalign.model.config import LayAlignConfig
from layalign.model.fingerprint import checksum, fingerprint, fingerprint_of
from layalign.model.hub import download
from layalign.model.lora import own_parameters, own_weights
from layalign.model.parts import count_by_part
from layalign.model.pretrained import refuse_kernels

if TYPE_CHECKING:
    from layalign.model.composite import LayAlignModel

WEIGHTS_NAME = "model.safetensors"
ENCODER_FOLDER = "encoder"
LANGUAGE_MODEL_FOLDER = "language_model"
# Of a run in which LayAlign only translates for the language model.
TRANSLATOR_FOLDER = "translator"
_CHECKSUM = "weights_sha256"  # in the metadata of the file
_SWITCHES = (
    *("encoder_mean", "aligner", "aligner_width", "adapter", "adapter_width"),
    *("gate", "lora"),
)


def save(
    model: LayAlignModel,
    folder: str | os.PathLike[str],
    *,
    include_backbones: bool = False,
    state_dict: dict[str, Tensor] | None = None,
    push_to_hub: bool = False,
    name: str | None = None,
    **kwargs: Any,
) -> None:
    """Write ``config.json``, ``model.safetensors`` (trained parameters only) and how to generate.

    A model card, ``README.md``, is added where there is none yet.

    Args:
        model: The model.
        folder: Created if missing. Files are written under a temporary name first.
        include_backbones: Also write both backbones into subfolders, so that the folder needs
            nothing else.
        state_dict: Take the parameters from here, as trainers that gather shards do.
        push_to_hub: Upload afterwards, as in transformers; ``kwargs`` go to that upload.
        name: What the card says to load it by; by default the folder's own name.
        **kwargs: ``repo_id``, ``private``, ``token`` … for the upload.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    state = model.state_dict() if state_dict is None else state_dict
    trained = {key: state[key].detach().contiguous() for key in model.trainable_names()}
    write_weights(target / WEIGHTS_NAME, trained)
    model.config.architectures = [type(model).__name__]
    config = copy.copy(model.config)
    if include_backbones:
        config.fingerprints = _save_backbones(model, target)
    config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    if not (target / CARD_NAME).exists():
        card = make_card(config, count_by_part(trained.items()), name=name or target.name)
        (target / CARD_NAME).write_text(card, encoding="utf-8")
    if push_to_hub:
        repo_id = kwargs.pop("repo_id", target.name)
        model.push_to_hub(repo_id, include_backbones=include_backbones, **kwargs)


def _save_backbones(model: LayAlignModel, target: Path) -> dict[str, str]:
    """Write both; return the fingerprints of what is written, which may be merged or cast."""
    model.encoder.save_pretrained(target / ENCODER_FOLDER)
    model.language_model.save_pretrained(
        target / LANGUAGE_MODEL_FOLDER,
        state_dict=own_weights(model.language_model) if model.config.lora else None,
    )
    for name in (ENCODER_FOLDER, LANGUAGE_MODEL_FOLDER):
        let_others_read(target / name)
    own = sorted(own_parameters(model.language_model))
    return {"encoder": fingerprint(model.encoder), "language_model": fingerprint_of(own)}


def load(
    cls: type[LayAlignModel],
    name_or_path: str | os.PathLike[str],
    *,
    encoder: Any = None,
    language_model: Any = None,
    dtype: torch.dtype | str | None = None,
    attn_implementation: str | None = None,
    device_map: Any = None,
    revision: str | None = None,
    check_backbones: bool = True,
    config: LayAlignConfig | None = None,
    **kwargs: Any,
) -> LayAlignModel:
    """Load a checkpoint; the backbones come from the folder itself or from where they were.

    Args:
        cls: The model class.
        name_or_path: Folder, hub id or name of a shipped checkpoint.
        encoder: Another place (or a loaded model) for the same encoder weights.
        language_model: Another place (or a loaded model) for the same language model weights.
        dtype: Arithmetic type of the backbones.
        attn_implementation: For the language model, as in transformers.
        device_map: As in transformers.
        revision: Hub revision of the checkpoint.
        check_backbones: Refuse backbones whose weights are not those of training.
        config: An already loaded configuration (``AutoModel`` passes one).
        **kwargs: Ignored loading options of transformers.

    Raises:
        CheckpointError: A file is missing or damaged, or does not fit the backbones.
    """
    folder = find_folder(name_or_path, revision)
    if config is None:
        config = read_config(folder)
    else:
        refuse_kernels(config, folder)
    trained = read_weights(folder)
    places = backbone_places(folder, config)
    encoder, language_model, fingerprints = load_backbones(
        encoder or places[0],
        language_model or places[1],
        encoder_revision=config.encoder_revision,
        language_model_revision=config.language_model_revision,
        dtype=dtype,
        attn_implementation=attn_implementation,
        device_map=device_map,
    )
    backbones = {"encoder": encoder, "language_model": language_model}
    _check_sizes(config, backbones, folder)
    if check_backbones:
        _check_fingerprints(config, backbones, fingerprints, folder)
    model = cls(config, encoder, language_model)
    load_trained(model, trained, folder)
    if (folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = _read_generation_config(folder)
    model.name_or_path = str(name_or_path)
    return model


def find_folder(
    name_or_path: str | os.PathLike[str],
    revision: str | None = None,
    files: tuple[str, ...] = ("config.json", WEIGHTS_NAME),
) -> Path:
    """Return the folder of a checkpoint: a shipped one, a local one, or one fetched from the hub.

    Args:
        name_or_path: Name of a shipped checkpoint, folder or hub id. To reach a local folder with
            the name of a shipped one, write ``./name``.
        revision: Hub revision.
        files: What it must hold.

    Raises:
        CheckpointError: There is no such folder or hub repository, or it holds no checkpoint.
    """
    shipped = shipped_checkpoints()
    folder = shipped.get(str(name_or_path), Path(name_or_path))
    if not folder.is_dir() or not str(name_or_path):
        is_path = folder.exists() or folder.is_absolute() or str(name_or_path).startswith(".")
        if is_path or str(name_or_path).count("/") != 1:
            raise CheckpointError(
                f"no checkpoint folder {str(name_or_path)!r}; expected a folder with config.json "
                f"and {WEIGHTS_NAME}, a hub id like user/name, or {', '.join(shipped)}"
            )
        folder = download(str(name_or_path), revision)
    for name in files:
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} has no {name}; expected a folder written by save_pretrained"
            )
    return folder


def read_config(folder: Path) -> LayAlignConfig:
    """Read the configuration of a checkpoint folder.

    Raises:
        BackboneError: It names a kernel of the Hub.
        CheckpointError: It is damaged, or its settings are not valid.
    """
    try:
        config = LayAlignConfig.from_pretrained(folder)
        if config.text_config is None:
            raise ConfigError("text_config is missing")
    except Exception as error:  # the two inside check their fields with errors of every kind
        raise CheckpointError(
            f"{folder / 'config.json'} is damaged or of another version ({reason(error)}); copy "
            "it again or use an earlier checkpoint"
        ) from error
    refuse_kernels(config, folder)
    return config


def _read_generation_config(folder: Path) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # of files, and of the settings' own checks
        raise CheckpointError(
            f"{folder / GENERATION_CONFIG_NAME} is damaged ({reason(error)}); copy it again, or "
            "delete it to generate as the language model's own says"
        ) from error


def write_weights(file: Path, trained: Mapping[str, Tensor]) -> None:
    """Write trained parameters, and a checksum of every bit for :func:`read_weights`.

    Args:
        file: Written under a temporary name first.
        trained: By name; each contiguous.
    """
    # Not `save_file`: the file that it creates can be read by its owner alone.
    # One entry: several would come in another order every time, and the file be another one.
    metadata = {_CHECKSUM: checksum(trained)}
    replace_file(file, serialise(dict(trained), metadata=metadata))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the trained parameters of a checkpoint folder.

    Raises:
        CheckpointError: The file is damaged or cut off, or what it holds are no finite numbers.
    """
    try:
        with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            expected = (file.metadata() or {}).get(_CHECKSUM)
            trained = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME} is damaged or cut off ({error}); copy it again or use an "
            "earlier checkpoint"
        ) from error
    if expected not in (None, checksum(trained)):
        raise CheckpointError(
            f"{folder / WEIGHTS_NAME} is damaged (its weights are others than were saved); copy it "
            "again or use an earlier checkpoint"
        )
    for name, value in trained.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise CheckpointError(
                f"{folder / WEIGHTS_NAME}: {name} holds what are no finite numbers; use an earlier "
                "checkpoint"
            )
    return trained


def load_trained(
    model: Any,
    trained: dict[str, Tensor],
    source: object,
    *,
    names: Collection[str] | None = None,
) -> None:
    """Put trained parameters into a model, strictly by name and shape.

    Args:
        model: A :class:`LayAlignModel`, or a language model alone.
        trained: From :func:`read_weights`.
        source: What to call it in errors.
        names: What is to be there; None for what a :class:`LayAlignModel` trains.

    Raises:
        CheckpointError: Names or shapes differ; the message lists them.
    """
    parameters = dict(model.named_parameters())
    expected = set(model.trainable_names() if names is None else names)
    missing, unexpected = sorted(expected - set(trained)), sorted(set(trained) - expected)
    if missing or unexpected:
        raise CheckpointError(
            f"{source} does not fit this model: missing {missing or 'nothing'}, unexpected "
            f"{unexpected or 'nothing'}"
        )
    for name in sorted(expected):
        if trained[name].shape != parameters[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(trained[name].shape)}, expected "
                f"{tuple(parameters[name].shape)} for these backbones"
            )
        parameters[name].data.copy_(trained[name])


def describe(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Summarise a checkpoint without loading its backbones.

    Returns:
        Backbones, sizes, what the parts are, numbers of trained parameters and the gates, as plain
        values.
    """
    folder = find_folder(name_or_path)
    config = read_config(folder)
    trained = read_weights(folder)
    return {
        "checkpoint": str(name_or_path),
        "encoder": config.encoder,
        "encoder_type": config.encoder_config.model_type,
        "language_model": config.language_model,
        "language_model_type": config.text_config.model_type,
        "d_enc": config.d_enc,
        "d_llm": config.d_llm,
        "encoder_layers": list(config.encoder_layers),
        "language_layers": list(config.language_layers),
        **{name: getattr(config, name) for name in _SWITCHES},
        "trained_parameters": count_by_part(trained.items()),
        "gates": _rounded(trained["gates"].tolist()) if "gates" in trained else [],
        "self_contained": (folder / LANGUAGE_MODEL_FOLDER).is_dir(),
    }


def _rounded(values: Any) -> Any:
    return [_rounded(v) for v in values] if isinstance(values, list) else round(values, 6)


def backbone_places(folder: Path, config: LayAlignConfig | None = None) -> tuple[str, str]:
    """Where a checkpoint's encoder and language model are: inside it, or where they were.

    Args:
        folder: Of the checkpoint.
        config: If it is loaded already.
    """
    config = config or read_config(folder)
    encoder, language_model = folder / ENCODER_FOLDER, folder / LANGUAGE_MODEL_FOLDER
    return (
        str(encoder) if encoder.is_dir() else config.encoder,
        str(language_model) if language_model.is_dir() else config.language_model,
    )


def _check_sizes(config: LayAlignConfig, backbones: dict[str, Any], folder: Path) -> None:
    recorded = {"encoder": config.encoder_config, "language_model": config.text_config}
    for role, model in backbones.items():
        for field in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
            expected, found = getattr(recorded[role], field), getattr(model.config, field)
            if expected != found:
                raise CheckpointError(
                    f"{folder} was trained with another {role}: {field} is {found!r}, expected "
                    f"{expected!r}; pass the {role} it was trained with"
                )


def _check_fingerprints(
    config: LayAlignConfig, backbones: dict[str, Any], fingerprints: dict[str, str], folder: Path
) -> None:
    for role, model in backbones.items():
        expected, found = config.fingerprints.get(role), fingerprints[role]
        if expected and found and expected != found:
            raise CheckpointError(
                f"{folder} was trained with other {role} weights (fingerprint {expected}, found "
                f"{found} in {model.name_or_path!r}); pass the right {role}, or "
                "check_backbones=False to go on"
            )
