"""Our numbers against those of the authors' code, case by case.

Values without prefix contain the two padding effects of the published code and are compared in its
mode; ``single.*`` and ``combined.*`` contain neither and are compared in ours, on the padded batch.
Tolerances come from each case's own file.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from cases import PARITY_DIR, Case, case_folders
from torch import Tensor
from transformers import GenerationConfig

from layalign.bench.published import published_generate, published_loss
from layalign.model import LayAlignModel

FOLDERS = case_folders()
pytestmark = pytest.mark.skipif(not FOLDERS, reason=f"no reference cases in {PARITY_DIR}")
both_modes = pytest.mark.parametrize("published", [True, False], ids=["published", "default"])
both_stages = pytest.mark.parametrize("stage", [1, 2])


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def rows(case: Case, name: str, published: bool) -> Iterator[tuple[int, Tensor]]:
    """Expected values row by row: of the batch as stored, or of each row alone."""
    for row in range(case.n_rows):
        if published or not case.has_padding:
            yield row, case.expected[name][row]
        else:
            yield row, case.expected[f"single.{row}.{name}"][0]


@both_modes
def test_encoder_side(case: Case, published: bool) -> None:
    model = case.model(published=published)
    ids, mask = (case.inputs[f"encoder_{key}"] for key in ("input_ids", "attention_mask"))
    with torch.no_grad():
        output = model.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        chosen = [output.hidden_states[i] for i in model.config.encoder_layers]
        states = model.aligner(torch.stack(chosen, 1))
        soft = model.adapter(output.last_hidden_state)
    tolerance = case.tolerances["adapter_states_abs"]
    for slot in range(len(model.config.language_layers)):
        for side, name in enumerate(("key", "value")):
            expected = rows(case, f"adapter_states.{slot}.{name}", published)
            for row, value in expected:
                length = len(value) if published else int(mask[row].sum())
                found = states[row, slot, side, :length]
                torch.testing.assert_close(found, value[:length], atol=tolerance, rtol=0)
    for row, value in rows(case, "mapping.output", published):
        length = int(mask[row].sum())
        torch.testing.assert_close(soft[row, :length], value[:length], atol=tolerance, rtol=0)


@both_modes
@both_stages
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_and_loss(case: Case, stage: int, published: bool, attention: str) -> None:
    model = case.model(published=published, attn_implementation=attention)
    with torch.no_grad():
        output = model(**case.batch(stage))
    mask = case.expected[f"stage{stage}.attention_mask"].bool()
    for row, value in rows(case, f"stage{stage}.logits", published):
        value = value[mask[row]] if published else value
        torch.testing.assert_close(
            output.logits[row][mask[row]], value, atol=case.tolerances["logits_abs"], rtol=0
        )
    expected = float(case.expected[f"{case.prefix(published)}stage{stage}.loss"])
    assert float(output.loss) == pytest.approx(expected, abs=case.tolerances["loss"])


@both_stages
def test_assembled_input(case: Case, stage: int) -> None:
    model = case.model(published=True)
    with torch.no_grad():
        assembled = model.assemble(**case.batch(stage))
    mask = case.expected[f"stage{stage}.attention_mask"]
    assert torch.equal(assembled["attention_mask"], mask)
    assert torch.equal(assembled["labels"], case.expected[f"stage{stage}.labels"])
    torch.testing.assert_close(
        assembled["inputs_embeds"][mask.bool()],
        case.expected[f"stage{stage}.inputs_embeds"][mask.bool()],
        atol=case.tolerances["adapter_states_abs"],
        rtol=0,
    )


def gradients(model: LayAlignModel) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@both_modes
@both_stages
def test_gradients(case: Case, stage: int, published: bool) -> None:
    model = case.model(published=published).train()
    model(**case.batch(stage)).loss.backward()
    prefix = f"{case.prefix(published)}grad.stage{stage}."
    expected = case.tensors(case.expected, prefix)
    found = gradients(model)
    assert set(found) == set(expected) == set(model.trainable_names())
    for name, value in expected.items():
        # Gates are separate tensors in the published layout, so each is its own scale.
        scale = value.abs() if name == "gates" else value.abs().max()
        error = ((found[name] - value).abs() / scale).max()
        assert error <= case.tolerances["grads_rel_to_tensor_max"], name


@both_modes
def test_ten_adamw_steps(case: Case, published: bool) -> None:
    settings = case.info["adamw"]
    model = case.model(published=published).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings["lr"],
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
    )
    losses = []
    for _ in range(settings["steps"]):
        loss = model(**case.batch(2)).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    losses.append(model(**case.batch(2)).loss.item())
    expected = case.expected[f"{case.prefix(published)}adamw.losses"].tolist()
    assert losses == pytest.approx(expected, abs=case.tolerances["adamw_losses"])


@both_modes
@both_stages
def test_greedy_ids(case: Case, stage: int, published: bool) -> None:
    model = case.model(published=published)
    settings = case.info["layalign"]
    found = model.generate(
        **case.prompt(stage),
        max_new_tokens=settings["max_gen_len"],
        do_sample=False,
        pad_token_id=settings["llm_pad_token_id"],
    )
    for row, value in rows(case, f"stage{stage}.generate.ids", published):
        ids = found[row].tolist()
        expected = value.tolist()
        assert ids[: len(expected)] == expected
        assert set(ids[len(expected) :]) <= {settings["llm_pad_token_id"]}


@both_stages
def test_plain_restatement(case: Case, stage: int) -> None:
    """What the benchmarks time as the published computation is that."""
    model, settings = case.model(published=True).train(), case.info["layalign"]
    loss = published_loss(model, case.batch(stage))
    expected = float(case.expected[f"stage{stage}.loss"])
    assert float(loss.detach()) == pytest.approx(expected, abs=case.tolerances["loss"])
    config = GenerationConfig(
        max_new_tokens=settings["max_gen_len"],
        do_sample=False,
        eos_token_id=model.config.text_config.eos_token_id,
        pad_token_id=settings["llm_pad_token_id"],
    )
    found = published_generate(model.eval(), case.prompt(stage), config)
    assert torch.equal(found, case.expected[f"stage{stage}.generate.ids"])
