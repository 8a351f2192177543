"""Model cards: what a checkpoint is, what it was made of, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from huggingface_hub import ModelCardData, metadata_load

from layalign.embedded.registry import MODELS
from layalign.model.config import LayAlignConfig
from layalign.model.hub import download_readme
from layalign.model.lora import lora_base

CARD_NAME = "README.md"
_UNKNOWN = "not known"


class Backbone(NamedTuple):
    """What a card says of an encoder or language model."""

    name: str
    """A hub id where there is one; of a folder only its own name."""

    hub_id: str | None = None
    revision: str | None = None
    licence: str | None = None


def find_backbone(
    name_or_path: str, revision: str | None = None, *, fetch: bool = False
) -> Backbone:
    """Say what is known of a backbone, from what lies on this machine.

    Args:
        name_or_path: Folder, hub id or name of an embedded model; of a LoRA its base is meant.
        revision: Hub revision.
        fetch: Ask the Hub for its model card too.
    """
    if name_or_path in MODELS:
        model = MODELS[name_or_path]
        return Backbone(model.name, model.hub_id, None, model.licence)
    folder = Path(name_or_path)
    if folder.is_dir():
        if base := lora_base(name_or_path):
            return find_backbone(base.name_or_path, base.revision, fetch=fetch)
        return Backbone(folder.name, licence=_licence(folder / CARD_NAME))
    is_hub_id = name_or_path.count("/") <= 1 and not folder.is_absolute()
    if not name_or_path or not is_hub_id:
        return Backbone(folder.name or _UNKNOWN)
    readme = download_readme(name_or_path) if fetch else None
    return Backbone(name_or_path, name_or_path, revision, _licence(readme) if readme else None)


def _licence(readme: Path) -> str | None:
    """The licence in the head of a model card."""
    try:
        data = metadata_load(readme) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return None
    found = data.get("license_name") or data.get("license")
    return None if found is None else str(found)


def make_card(
    config: LayAlignConfig,
    trained: Mapping[str, int],
    *,
    name: str,
    backbones: Mapping[str, Backbone] | None = None,
    languages: Sequence[str] = (),
    licence: str | None = None,
    sections: Mapping[str, str] | None = None,
) -> str:
    """Write a model card.

    Args:
        config: Of the checkpoint.
        trained: Numbers of trained parameters by part.
        name: What it is loaded by, such as ``user/name``.
        backbones: ``encoder`` and ``language_model``; by default what the configuration says.
        languages: BCP-47 tags of the training data.
        licence: Of the trained parameters, as the Hub names it.
        sections: Further text in Markdown by title, such as data and results.

    Returns:
        Markdown with the head that the Hub reads.
    """
    backbones = backbones or config_backbones(config)
    data = ModelCardData(
        language=sorted({tag.split("-")[0] for tag in languages}) or None,
        license=licence,
        library_name="layalign",
        pipeline_tag="text-generation",
        tags=["layalign", "multilingual"],
        base_model=[one.hub_id for one in backbones.values() if one.hub_id] or None,
    )
    texts = {
        "Use": _use(name),
        "Models": _models(backbones, licence),
        "Trained": _trained(config, trained),
        **(sections or {}),
    }
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in texts.items())
    encoder, language_model = (backbones[role].name for role in ("encoder", "language_model"))
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {name.rpartition('/')[2]}\n\n"
        f"{language_model}, which reads questions in many languages through {encoder}: the "
        "parameters that LayAlign (Ruan et al., Findings of NAACL 2025) has trained between the "
        f"two. It answers in English.\n\n{body}\n"
    )


def config_backbones(config: LayAlignConfig, *, fetch: bool = False) -> dict[str, Backbone]:
    """What a configuration says of both backbones; see :func:`find_backbone`."""
    return {
        "encoder": find_backbone(config.encoder, config.encoder_revision, fetch=fetch),
        "language_model": find_backbone(
            config.language_model, config.language_model_revision, fetch=fetch
        ),
    }


def _use(name: str) -> str:
    return f"""\
```python
from layalign import LayAlignModel, LayAlignProcessor

model, processor = (kind.from_pretrained("{name}") for kind in (LayAlignModel, LayAlignProcessor))
ids = model.generate(**processor("Juma ana matofaa 3. Ana mangapi?"), max_new_tokens=64)
print(processor.batch_decode(ids)[0])
```

In a terminal: `layalign chat {name}`."""


def _models(backbones: Mapping[str, Backbone], licence: str | None) -> str:
    rows = []
    for role, one in backbones.items():
        cells = (role.replace("_", " "), one.name, one.revision or "", one.licence or _UNKNOWN)
        rows.append(f"| {' | '.join(cells)} |")
    rows.append(f"| trained parameters | this repository | | {licence or 'not stated'} |")
    return "\n".join(["| Part | From | Revision | Licence |", "| --- | --- | --- | --- |", *rows])


def _trained(config: LayAlignConfig, trained: Mapping[str, int]) -> str:
    parts = ", ".join(f"{part} {count:,}" for part, count in trained.items())
    return (
        f"{sum(trained.values()):,} parameters: {parts}. Encoder states aligned: "
        f"{len(config.encoder_layers)}; layers of the language model that attend to them: "
        f"{len(config.language_layers)} of {config.n_llm_layers}."
    )
