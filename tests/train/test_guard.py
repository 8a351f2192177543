"""Updates that are no numbers are not made; losses that jump are noted."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from layalign.errors import TrainingError
from layalign.train.guard import bad_in_a_row, go_on_or_stop, is_spike, note_update
from layalign.train.record import DevResult, Record
from layalign.train.stages import StageConfig
from layalign.train.trainer import train_stage

CONFIG = StageConfig(
    lr=1e-2, gate_lr=5e-2, batch_size=8, micro_batch_size=4, max_updates=6, eval_every=2
)


def test_a_spike_stands_out_from_what_was_before():
    before = [2.0 + 0.1 * (i % 5) for i in range(30)]
    assert not is_spike(before, 2.5)
    assert is_spike(before, 5.0)
    assert is_spike([*before, 50.0, math.nan, 40.0], 5.0)
    assert not is_spike(before, 0.1)
    assert not is_spike(before[:10], 50.0)  # too few to judge by
    assert not is_spike([2.0] * 30, 2.01)
    assert is_spike([*[9.0] * 100, *before * 4], 5.0)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1, "was not made. It is number 1 in a row"), (None, "has spoilt the weights. Start again")],
)
def test_the_end_says_whether_an_update_was_made(limit, expected):
    record = Record()
    note_update(record, math.nan, 1.0)
    with pytest.raises(TrainingError, match=f"update 1, loss nan: this update {expected}"):
        go_on_or_stop(record, {"update": 1, "loss": math.nan}, None, limit=limit)


def test_what_is_noted():
    record = Record()
    assert all(note_update(record, 2.0, 1.0) for _ in range(30))
    assert note_update(record, 9.0, 3.0)
    assert record.unusual == {"loss_spike": 9.0}
    assert not note_update(record, math.inf, 1.0)
    assert not note_update(record, 2.0, math.nan)
    assert record.unusual == {"bad_updates": 2}
    assert bad_in_a_row(record.losses) == 2
    assert note_update(record, 2.0, 1.0)
    assert record.unusual == {}
    assert bad_in_a_row(record.losses) == 0
    assert (record.spikes, record.bad_updates) == ([31], [32, 33])
    assert record.grad_norms[-4:-1][0] == 3.0


def test_the_best_is_a_number():
    results = [DevResult(update=1, loss=math.nan), DevResult(update=2, loss=3.0)]
    assert Record(dev=results).best == results[1]
    assert Record(dev=results[:1]).best is None


def poisoned(model, *, start, end, value=math.nan):
    """A progress callback that makes the updates from start to end no numbers."""
    kept = model.adapter.boundary.data.clone()

    def poison(progress):
        if progress.update == start - 1:
            kept.copy_(model.adapter.boundary.data)
            model.adapter.boundary.data.fill_(value)
        if progress.update == end:
            model.adapter.boundary.data.copy_(kept)

    return poison


def test_a_bad_update_is_left_out_and_its_batch_kept(model, processor, examples, tmp_path):
    seen = {}

    def watch(progress):
        poison(progress)
        seen[progress.update] = torch.cat([p.detach().flatten() for p in parameters])

    poison = poisoned(model, start=3, end=4)
    parameters = [p for n, p in model.named_parameters() if n in model.trainable_names()]
    parameters = [p for p in parameters if p is not model.adapter.boundary]
    result = train_stage(model, processor, examples, CONFIG, output_dir=tmp_path, progress=watch)
    assert result.updates == 6
    assert result.bad_updates == (3, 4)
    assert [math.isnan(loss) for loss in result.losses] == [False] * 2 + [True] * 2 + [False] * 2
    assert torch.equal(seen[2], seen[3])
    assert torch.equal(seen[2], seen[4])
    assert not torch.equal(seen[4], seen[5])
    assert result.to_dict()["losses"][2:4] == [None, None]

    folder = tmp_path / "bad-updates" / "update-3"
    about = json.loads((folder / "batch.json").read_text())
    assert (about["update"], about["loss"]) == ("3", "nan")
    assert len(about["examples"]) == 8
    assert all(row["text"] == examples[row["index"]].text for row in about["examples"])
    tensors = load_file(folder / "batch.safetensors")
    texts = [row["text"] for row in about["examples"]]
    for part in (0, 1):
        ids = processor.encoder_tokenizer(texts[4 * part : 4 * part + 4], padding=True)
        assert tensors[f"{part}.encoder_input_ids"].tolist() == ids["input_ids"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_too_many_stop_the_stage_and_it_can_be_resumed(
    value, new_model, processor, examples, tmp_path
):
    whole = train_stage(new_model(), processor, examples, CONFIG, output_dir=tmp_path / "whole")
    model = new_model()
    poison = poisoned(model, start=4, end=99, value=value)
    with pytest.raises(TrainingError, match=r"update 6, .*number 3 in a row .* lower lr"):
        train_stage(
            *(model, processor, examples, CONFIG),
            output_dir=tmp_path / "cut",
            progress=poison,
        )
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-2"]
    resumed = train_stage(
        *(new_model(), processor, examples, CONFIG), output_dir=tmp_path / "cut", resume=True
    )
    assert resumed.losses == whole.losses


def test_anomaly_detection_says_where(model, processor, examples, tmp_path):
    poison = poisoned(model, start=2, end=9)
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match="Error detected in"),
        pytest.raises(TrainingError, match=r"Backward.* returned nan values .* warning above"),
    ):
        train_stage(
            *(model, processor, examples, replace(CONFIG, max_updates=3)),
            output_dir=tmp_path,
            progress=poison,
        )
