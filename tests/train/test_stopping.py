"""A run that is asked to end: at once, or where a training stage can save."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch

from layalign.errors import StopError
from layalign.train.finetune import finetune_language_model
from layalign.train.stages import StageConfig
from layalign.train.stopping import StopRequest, stop_on_signals
from layalign.train.trainer import train_stage

CONFIG = StageConfig(
    lr=1e-2, gate_lr=5e-2, batch_size=8, micro_batch_size=4, max_updates=5, eval_every=2
)


class After(StopRequest):
    """A request that comes just before it is looked for the n-th time."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    @property
    def signal(self):
        self.looks -= 1
        return signal.SIGTERM if self.looks < 0 else None

    @signal.setter
    def signal(self, value):
        pass


def test_signals_end_it_at_once_or_where_it_is_held():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        with pytest.raises(StopError, match=r"stopped by SIGTERM: .* it can be resumed") as found:
            os.kill(os.getpid(), signal.SIGTERM)
        assert found.value.exit_code == 143
        assert isinstance(found.value, KeyboardInterrupt)
    with stop_on_signals() as stop, stop.held():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # schedulers may send it twice
        assert stop.signal is signal.SIGTERM
    with stop_on_signals() as stop, stop.held():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(StopError) as found:
            os.kill(os.getpid(), signal.SIGINT)
        assert found.value.exit_code == 130
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def look():
        with stop_on_signals() as stop:
            found.extend((stop.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [None, before]


def test_a_stage_stops_anywhere_and_goes_on_bit_by_bit(
    new_model, processor, examples, dev_examples, tmp_path
):
    """Between micro-batches, after updates, and between batches of the development set."""

    def run(folder, stop=None):
        model = new_model()
        result = train_stage(
            *(model, processor, examples, CONFIG),
            output_dir=folder,
            dev_examples=dev_examples,
            resume=True,
            stop=stop,
        )
        return result, [model.get_parameter(name) for name in model.trainable_names()]

    expected, weights = run(tmp_path / "whole")
    said = []
    for looks in itertools.count():
        try:
            result, found = run(tmp_path / "stopped", After(looks))
            break
        except StopError as error:
            said.append("is saved in" in str(error))
    assert len(said) >= 5
    assert said == [False, *[True] * (len(said) - 1)]
    assert result.losses == expected.losses
    assert result.dev == expected.dev
    assert (result.tokens, result.flops) == (expected.tokens, expected.flops)
    assert all(torch.equal(*pair) for pair in zip(found, weights, strict=True))


@pytest.mark.parametrize("lora_rank", [None, 2])
def test_a_fine_tune_goes_on_bit_by_bit(
    lora_rank, new_language_model, processor, examples, tmp_path
):
    """Its noise is drawn again as it was drawn."""
    config = replace(CONFIG, embedding_noise=5.0, lora_rank=lora_rank)

    def run(folder, stop=None):
        model = new_language_model()
        result = finetune_language_model(
            *(model, processor.tokenizer, examples),
            config=config,
            prompt_template="{question} =",
            checkpoint_dir=folder,
            resume=True,
            stop=stop,
        )
        return result, list(model.parameters())

    expected, weights = run(tmp_path / "whole")
    for looks in (4, 2):
        with pytest.raises(StopError):
            run(tmp_path / "stopped", After(looks))
    result, found = run(tmp_path / "stopped")
    assert result.losses == expected.losses
    assert all(torch.equal(*pair) for pair in zip(found, weights, strict=True))
