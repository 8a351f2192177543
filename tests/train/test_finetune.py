import gc
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from layalign.model.backbones import load_language_model
from layalign.train.finetune import finetune_language_model
from layalign.train.stages import StageConfig

TEMPLATE = "{question} = the answer is"
CONFIG = StageConfig(lr=1e-2, batch_size=8, epochs=4)


def finetune(language_model, processor, examples, config=CONFIG, **options):
    return finetune_language_model(
        language_model,
        processor.tokenizer,
        examples,
        config=config,
        prompt_template=TEMPLATE,
        **options,
    )


def test_loss_is_on_target_and_eos_behind_bos_and_prompt(new_language_model, processor, examples):
    language_model, tokenizer = new_language_model(), processor.tokenizer
    total, count = 0.0, 0
    for example in examples:
        prompt = [1, *tokenizer(TEMPLATE.format(question=example.text))["input_ids"]]
        target = [*tokenizer(example.target)["input_ids"], 2]
        with torch.no_grad():
            logits = language_model(torch.tensor([prompt + target])).logits[0]
        predicted = logits[len(prompt) - 1 : -1]
        total += float(F.cross_entropy(predicted, torch.tensor(target), reduction="sum"))
        count += len(target)
    config = replace(CONFIG, batch_size=len(examples), micro_batch_size=2, max_updates=1)
    result = finetune(new_language_model(), processor, examples, config)
    assert result.losses[0] == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_with_all_weights(dtype, new_language_model, processor, examples):
    language_model = new_language_model().to(dtype)
    before = {name: p.detach().clone() for name, p in language_model.named_parameters()}
    use_cache = language_model.config.use_cache
    result = finetune(language_model, processor, examples, dev_examples=examples[:4])
    assert result.losses[-1] < 0.8 * result.losses[0]
    assert result.dev[-1].loss < result.losses[0]
    for name, parameter in language_model.named_parameters():
        assert parameter.dtype == dtype
        assert parameter.grad is None
        assert not torch.equal(parameter, before[name]), name
    assert not language_model.training
    assert language_model.config.use_cache == use_cache


def test_embedding_noise_is_in_training_alone(new_language_model, processor, examples):
    plain, noisy = new_language_model(), new_language_model()
    noise = replace(CONFIG, embedding_noise=20.0)
    quiet = finetune(plain, processor, examples)
    loud = finetune(noisy, processor, examples, noise)
    assert loud.losses[0] != quiet.losses[0]
    assert not noisy.get_input_embeddings()._forward_hooks
    ids = torch.tensor([[1, 5, 6]])
    noisy.train()
    assert torch.equal(noisy(ids).logits, noisy(ids).logits)


def test_no_moments_are_left_in_memory(new_language_model, processor, examples):
    gc.collect()
    gc.disable()  # so that only references count
    try:
        finetune(new_language_model(), processor, examples)
        assert not [o for o in gc.get_objects() if type(o) is torch.optim.AdamW and o.state]
    finally:
        gc.enable()


def test_requires_grad_is_left_as_found(new_language_model, processor, examples):
    language_model = new_language_model().requires_grad_(False)
    result = finetune(language_model, processor, examples)
    assert result.losses[-1] < result.losses[0]
    assert not any(p.requires_grad for p in language_model.parameters())


def test_saved_as_an_ordinary_folder(new_language_model, processor, examples, tmp_path):
    language_model = new_language_model()
    finetune(language_model, processor, examples, output_dir=tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, parameter in loaded.named_parameters():
        torch.testing.assert_close(parameter, language_model.get_parameter(name))
    assert AutoTokenizer.from_pretrained(tmp_path).bos_token == "<s>"
    assert not list(tmp_path.glob("checkpoint-*"))
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # for others to read


def test_a_lora_learns_and_is_merged(new_language_model, processor, examples, tmp_path):
    language_model = new_language_model()
    language_model.save_pretrained(tmp_path / "base")
    language_model.name_or_path = str(tmp_path / "base")
    before = {name: p.detach().clone() for name, p in language_model.named_parameters()}
    config = replace(CONFIG, lora_rank=4, lr=3e-2)
    result = finetune(language_model, processor, examples, config, output_dir=tmp_path / "lora")
    assert result.losses[-1] < 0.8 * result.losses[0]
    after = dict(language_model.named_parameters())
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if name.endswith("_proj.weight")}
    assert not language_model.training
    loaded = load_language_model(str(tmp_path / "lora"))
    for name, parameter in loaded.named_parameters():
        torch.testing.assert_close(parameter, after[name])
    assert AutoTokenizer.from_pretrained(tmp_path / "lora").bos_token == "<s>"
    assert len({path.stat().st_mode for path in (tmp_path / "lora").iterdir()}) == 1
    stored = sum(file.stat().st_size for file in (tmp_path / "lora").glob("*.safetensors"))
    assert stored < sum(p.numel() * 4 for p in after.values())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_lora_in_bfloat16_is_trained_in_float32(
    checkpointing, new_language_model, processor, examples
):
    language_model = new_language_model().to(torch.bfloat16)
    config = replace(CONFIG, lora_rank=4, lr=3e-2, gradient_checkpointing=checkpointing)
    result = finetune(language_model, processor, examples, config)
    assert result.losses[-1] < 0.8 * result.losses[0]
    assert {p.dtype for p in language_model.parameters()} == {torch.bfloat16}
