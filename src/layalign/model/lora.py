"""LoRAs on a language model: one stored as PEFT stores it, a new one, one trained in LayAlign."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from transformers.utils.peft_utils import find_adapter_config_file

from layalign.errors import BackboneError, ConfigError, reason
from layalign.model.parts import LORA, part_of
from layalign.model.switches import LoraSettings

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


class LoraBase(NamedTuple):
    """The model below a LoRA."""

    name_or_path: str
    """Folder, hub id or name of an embedded model."""

    revision: str | None
    """Hub revision, if any."""


def lora_base(name_or_path: str, revision: str | None = None) -> LoraBase | None:
    """Return what a stored LoRA was trained on; None for a model that is no LoRA.

    Args:
        name_or_path: Local folder or hub id.
        revision: Hub revision.

    Raises:
        BackboneError: The adapter's configuration is damaged, or names no base or itself.
    """
    try:
        found = find_adapter_config_file(name_or_path, revision=revision)
    except (OSError, ValueError):  # no such model: whoever loads it says so
        return None
    if found is None:
        return None
    try:
        config = json.loads(Path(found).read_text(encoding="utf-8"))
        base = LoraBase(str(config["base_model_name_or_path"] or ""), config.get("revision"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackboneError(
            f"{found} is damaged ({error}); expected what PEFT's save_pretrained writes"
        ) from error
    if config.get("megatron_config"):  # PEFT imports a module of the name that stands beside it
        raise BackboneError(f"{found} is for Megatron-LM, which layalign does not load")
    _check_chain(name_or_path, base)
    return base


def _check_chain(name_or_path: str, base: LoraBase) -> None:
    """Refuse a local LoRA that is, by way of others or at once, its own base."""
    seen = {Path(name_or_path).resolve()}
    place = Path(base.name_or_path)
    while (file := place / "adapter_config.json").is_file():
        if place.resolve() in seen:
            raise BackboneError(
                f"the LoRA {name_or_path!r} is its own base, through {str(place)!r}; set "
                "base_model_name_or_path to the model that it was trained on"
            )
        seen.add(place.resolve())
        try:
            place = Path(json.loads(file.read_text("utf-8"))["base_model_name_or_path"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # whoever loads it says what is wrong


def add_stored_lora(
    base: PreTrainedModel, name_or_path: str, revision: str | None = None
) -> PeftModel:
    """Put a stored LoRA on the model that it was trained on.

    Args:
        base: That model; changed in place.
        name_or_path: Local folder or hub id of the LoRA.
        revision: Hub revision.

    Raises:
        BackboneError: The LoRA is damaged or does not fit the model.
    """
    from peft import PeftModel

    try:
        with _without_renaming_warnings():
            return PeftModel.from_pretrained(base, name_or_path, revision=revision)
    except Exception as error:  # PEFT, safetensors and torch have a class of their own each
        raise BackboneError(
            f"cannot put the LoRA {name_or_path!r} on {base.name_or_path!r}: {reason(error)}"
        ) from error


def add_new_lora(
    language_model: PreTrainedModel, rank: int, revision: str | None = None
) -> PeftModel:
    """Put an untrained LoRA on every linear layer but the output head, which changes nothing yet.

    Args:
        language_model: Changed in place.
        rank: Of every layer's change.
        revision: Of the language model, if it is from the hub; stored with the LoRA.
    """
    from peft import get_peft_model

    config = _config(LoraSettings(rank=rank))
    with _without_renaming_warnings():
        adapted: PeftModel = get_peft_model(language_model, config, revision=revision)
    return adapted


def insert_lora(language_model: PreTrainedModel, settings: LoraSettings) -> None:
    """Put an untrained LoRA or DoRA into a language model that stays what it is, in float32.

    Only the new parameters want gradients afterwards. They are in the layers, so whatever uses a
    layer's projections uses the adapted ones, the cross attention too.

    Args:
        language_model: Changed in place, but not in what it computes.
        settings: What is added where.

    Raises:
        ConfigError: There is no layer of such a name.
    """
    from peft import inject_adapter_in_model

    _check_targets(language_model, settings.targets or ())
    is_outline = any(parameter.is_meta for parameter in language_model.parameters())
    with _without_renaming_warnings():
        inject_adapter_in_model(_config(settings), language_model, low_cpu_mem_usage=is_outline)
    for parameter in language_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for layer in lora_layers(language_model):
        for name, lengths in layer.lora_magnitude_vector.items():  # again, now that all is float32
            lengths.update_layer(
                base_layer=layer.get_base_layer(),
                lora_A=layer.lora_A[name].weight,
                lora_B=layer.lora_B[name].weight,
                scaling=layer.scaling[name],
            )


def lora_layers(language_model: nn.Module) -> list[Any]:
    """The layers of a language model that carry a LoRA, PEFT's ``BaseTunerLayer``."""
    if not any(part_of(name) == LORA for name, _ in language_model.named_parameters()):
        return []  # without importing PEFT
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in language_model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def without_lora(language_model: nn.Module) -> Iterator[None]:
    """Let a language model compute what it did before :func:`insert_lora`."""
    layers = lora_layers(language_model)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merge_lora(language_model: nn.Module) -> None:
    """Add what :func:`insert_lora` put in to the weights; what is computed stays the same."""
    adapted = lora_layers(language_model)
    for name, module in list(language_model.named_modules()):
        if module in adapted:
            module.merge()
            language_model.set_submodule(name, module.get_base_layer())


def own_weights(language_model: nn.Module) -> dict[str, Tensor]:
    """The weights of a language model under its own names, those of an inserted LoRA left out."""
    return dict(_own(language_model.state_dict().items()))


def own_parameters(language_model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a language model as :func:`own_weights` names them, tied ones once."""
    return _own(language_model.named_parameters())


def _own(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, value in named:
        if part_of(name) != LORA:
            yield name.replace(".base_layer.", "."), value


def _config(settings: LoraSettings) -> LoraConfig:
    from peft import LoraConfig

    targets = "all-linear" if settings.targets is None else list(settings.targets)
    return LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        use_dora=settings.dora,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


def _check_targets(language_model: PreTrainedModel, targets: Sequence[str]) -> None:
    head = language_model.get_output_embeddings()
    known = {
        name.rpartition(".")[2]
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    if wrong := sorted(set(targets) - known):
        raise ConfigError(
            f"lora.targets names {', '.join(wrong)}, but the linear layers of "
            f"{language_model.config.model_type} are {', '.join(sorted(known))}; choose among them"
        )


@contextmanager
def _without_renaming_warnings() -> Iterator[None]:
    """PEFT still asks for attributes by names that newer transformers warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield
