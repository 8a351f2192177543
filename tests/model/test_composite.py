"""What the composite does beyond the fusion itself: loss, modes, generation, errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import GenerationConfig, TextStreamer

from factories import (
    make_batch,
    make_encoder,
    make_language_model,
    make_model,
    make_processor,
)
from layalign.errors import BackboneError, ConfigError, ShapeError
from layalign.model import LayAlignModel

GREEDY = {"do_sample": False, "max_new_tokens": 5, "eos_token_id": None, "pad_token_id": 0}


def test_loss_is_the_token_mean_over_the_labels() -> None:
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        given = model.assemble(**batch)
        logits = model(**batch).logits
    total, count = 0.0, 0
    for row, labels in enumerate(given["labels"]):
        for t in range(len(labels) - 1):
            if labels[t + 1] != -100:
                total -= F.log_softmax(logits[row, t], -1)[labels[t + 1]].item()
                count += 1
    assert count == int((batch["labels"] != -100).sum())
    with torch.no_grad():
        assert model(**batch).loss.item() == pytest.approx(total / count, rel=1e-5)
        summed = model(**batch, num_items_in_batch=7).loss.item()
    assert summed == pytest.approx(total / 7, rel=1e-5)


def test_label_logits_only_gives_the_same_loss_and_gradients() -> None:
    found = []
    for only in (False, True):
        model = make_model().train()
        output = model(**make_batch(), label_logits_only=only)
        output.loss.backward()
        found.append((output, [p.grad for p in model.parameters() if p.requires_grad]))
    assert found[1][0].logits.shape[1] < found[0][0].logits.shape[1]
    torch.testing.assert_close(found[0][0].loss, found[1][0].loss)
    torch.testing.assert_close(found[0][1], found[1][1])


def enable_checkpointing(model: LayAlignModel) -> None:
    # transformers renamed the method in 5.2x and warns about the old name.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def test_gradient_checkpointing_changes_nothing() -> None:
    found = []
    for checkpointing in (False, True):
        model = make_model()
        if checkpointing:
            enable_checkpointing(model)
        model.train()
        loss = model(**make_batch()).loss
        loss.backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(*found)


def test_frozen_backbones_have_no_dropout_in_training() -> None:
    dropout = {"hidden_dropout": 0.5, "attention_dropout": 0.5}
    llm = make_language_model("gpt_neox", **dropout)
    model = make_model(llm, make_encoder("mt5", dropout_rate=0.5))
    batch = make_batch()
    with torch.no_grad():
        expected = model(**batch).loss
        assert torch.equal(model.train()(**batch).loss, expected)
        enable_checkpointing(model)
        assert torch.equal(model.train()(**batch).loss, expected)
    published = make_model(llm, make_encoder("mt5", dropout_rate=0.5), frozen_backbones_eval=False)
    with torch.no_grad():
        assert not torch.equal(published.train()(**batch).loss, published(**batch).loss)


def test_trained_parameters_stay_float32_beside_bfloat16_backbones() -> None:
    model = make_model(make_language_model().bfloat16(), make_encoder().bfloat16()).train()
    output = model(**make_batch())
    output.loss.backward()
    assert output.logits.dtype == torch.bfloat16
    for name, parameter in model.named_parameters():
        trained = name in model.trainable_names()
        assert parameter.dtype == (torch.float32 if trained else torch.bfloat16), name
        assert (parameter.grad is not None) == trained, name


def test_changing_one_row_leaves_the_others_alone() -> None:
    model, batch = make_model(), make_batch(targets=False)
    changed = {key: value.clone() for key, value in batch.items()}
    changed["encoder_input_ids"][0] = 11
    changed["input_ids"][0, -1] = 12
    with torch.no_grad():
        before, after = model(**batch).logits, model(**changed).logits
    assert torch.equal(before[1:], after[1:])
    assert not torch.allclose(before[0], after[0])


def test_beams_in_a_batch_equal_beams_alone() -> None:
    model, batch = make_model(), make_batch(targets=False)
    settings = {**GREEDY, "num_beams": 3, "num_return_sequences": 2}
    together = model.generate(**batch, **settings)
    assert together.shape == (6, 5)
    for row in range(3):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        assert torch.equal(model.generate(**one, **settings), together[2 * row : 2 * row + 2])


@pytest.mark.parametrize("way", ["argument", "settings of the call", "settings of the model"])
def test_with_a_penalty_on_repetition_a_batch_equals_its_rows(way: str) -> None:
    model, batch = make_model(), make_batch(targets=False)
    free = model.generate(**batch, **GREEDY)
    options: dict[str, Any] = dict(GREEDY)
    if way == "argument":
        options["repetition_penalty"] = 3.0
    elif way == "settings of the call":
        options = {"generation_config": GenerationConfig(**GREEDY, repetition_penalty=3.0)}
    else:
        model.generation_config.repetition_penalty = 3.0
    together = model.generate(**batch, **options)
    assert not torch.equal(together, free)
    for row, found in enumerate(together):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        assert torch.equal(model.generate(**one, **options)[0], found)
        assert len(set(found.tolist())) == len(found)


@pytest.mark.parametrize("count", [1, 3, 50])
def test_logits_of_the_last_positions(count: int) -> None:
    model, batch = make_model(), make_batch(targets=False)
    with torch.no_grad():
        whole, last = (model(**batch, logits_to_keep=n).logits for n in (0, count))
    torch.testing.assert_close(last, whole[:, -count:])


def test_sampling_repeats_with_the_seed_and_leaves_the_model_as_found() -> None:
    model, batch = make_model().train(), make_batch(targets=False)
    state = copy.deepcopy(model.state_dict())
    settings = {**GREEDY, "do_sample": True, "num_return_sequences": 3}
    torch.manual_seed(5)
    first = model.generate(**batch, **settings)
    torch.manual_seed(5)
    assert torch.equal(first, model.generate(**batch, **settings))
    assert model.training
    assert not model.encoder.training
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(
        model.trainable_names()
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_encoder_input_alone_is_enough() -> None:
    model, batch = make_model(), make_batch(targets=False)
    ids = {k: v for k, v in batch.items() if k.startswith("encoder")}
    assert model.generate(**ids, **GREEDY).shape == (3, 5)
    with torch.no_grad():
        assert model(**ids).logits.shape == (3, 10, 99)  # BOS, 8 soft tokens, boundary
    with pytest.raises(ConfigError, match="generate needs encoder_input_ids"):
        model.generate(input_ids=batch["input_ids"])


def test_a_model_without_bos() -> None:
    model, batch = make_model(bos_token_id=None), make_batch(targets=False)
    with torch.no_grad():
        given = model.assemble(batch["encoder_input_ids"], batch["encoder_attention_mask"])
    assert given["inputs_embeds"].shape[1] == 9


def test_stop_strings_and_streaming(capsys: pytest.CaptureFixture[str]) -> None:
    model, processor = make_model(), make_processor()
    batch = processor("how many apples does anna have")
    whole = processor.batch_decode(model.generate(**batch, **GREEDY))[0]
    model.generate(**batch, **GREEDY, streamer=TextStreamer(processor.tokenizer))
    assert capsys.readouterr().out.split() == whole.split()
    word = whole.split()[1]
    stopped = model.generate(**batch, **GREEDY, stop_strings=[word], tokenizer=processor.tokenizer)
    assert 1 <= stopped.shape[1] <= 5
    assert word in processor.batch_decode(stopped)[0]


def test_hidden_states_and_cache_come_back() -> None:
    model = make_model()
    with torch.no_grad():
        output = model(**make_batch(), output_hidden_states=True, use_cache=True)
    assert len(output.hidden_states) == 3
    assert output.past_key_values is not None


@pytest.mark.parametrize("switches", [{}, {"aligner": "none"}, {"adapter": "none"}])
def test_an_encoder_that_has_been_run_is_not_run_again(
    switches: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = make_model(**switches), make_batch()
    names = {"input_ids": "encoder_input_ids", "attention_mask": "encoder_attention_mask"}
    with torch.no_grad():
        expected = model(**batch).logits
        own = {name: batch[key] for name, key in names.items()}
        outputs = model.encoder(**own, output_hidden_states=True)
        monkeypatch.setattr(model.encoder, "forward", None)
        torch.testing.assert_close(model(**batch, encoder_outputs=outputs).logits, expected)


def test_mask_of_another_shape_is_refused() -> None:
    batch = make_batch()
    batch["attention_mask"] = batch["attention_mask"][:, 1:]
    with pytest.raises(ShapeError, match=r"attention_mask has shape \(3, 6\), expected .*\(3, 7\)"):
        make_model()(**batch)


def test_unknown_setting_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown model setting 'aligner_kind'"):
        make_model(aligner_kind="mlp")
    with pytest.raises(ConfigError, match="did you mean 'encoder_layers'"):
        make_model(encoder_layer=[0])


def test_a_layer_that_cannot_be_fused_is_refused() -> None:
    with pytest.raises(BackboneError, match="'gpt2' is not supported"):
        LayAlignModel.from_backbones(make_encoder(), _gpt2())


def _gpt2() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=16, n_layer=1, n_head=2))


def test_without_an_aligner_soft_tokens_are_all_there_is() -> None:
    model = make_model(aligner="none")
    assert {name.split(".")[0] for name in model.trainable_names()} == {"adapter"}
    batch = make_batch()
    fused = make_model()  # gates at zero: the same sum without its second part
    with torch.no_grad():
        fused.gates.zero_()
        for name in model.trainable_names():
            model.get_parameter(name).copy_(fused.get_parameter(name))
        assert torch.equal(model(**batch).logits, fused(**batch).logits)
    del batch["labels"]
    assert torch.equal(
        model.generate(**batch, max_new_tokens=4), fused.generate(**batch, max_new_tokens=4)
    )


def test_layers_without_an_aligner_are_refused() -> None:
    with pytest.raises(ConfigError, match="without an aligner"):
        make_model(aligner="none", encoder_layers=[1])
