import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from layalign.data import Example
from layalign.errors import DataError
from layalign.train.batches import (
    StageDataset,
    UpdateSampler,
    byte_lengths,
    check_examples,
    spread,
    spread_different,
    to_learn,
    tokens_read,
)


def sampler(lengths, **changes):
    settings = {"batch_size": 4, "total": len(lengths), "seed": 0, "group_by_length": True}
    return UpdateSampler(lengths, **{**settings, **changes})


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(1, 7),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_epoch_reads_every_example(lengths, batch_size, epochs, group):
    total = epochs * len(lengths)
    order = list(sampler(lengths, batch_size=batch_size, total=total, group_by_length=group))
    assert Counter(order) == Counter(dict.fromkeys(range(len(lengths)), epochs))


def test_the_order_follows_the_seed():
    lengths = [1] * 30
    assert list(sampler(lengths)) == list(sampler(lengths))
    assert list(sampler(lengths)) != list(sampler(lengths, seed=1))


def test_epochs_differ():
    order = list(sampler(list(range(20)), total=40, group_by_length=False))
    assert order[:20] != order[20:]


def test_updates_are_alike_in_length():
    lengths = [i * 7 % 41 for i in range(41)]
    order = list(sampler(lengths))
    spans = [
        max(update) - min(update)
        for start in range(0, 40, 4)
        if (update := [lengths[i] for i in order[start : start + 4]])
    ]
    assert max(spans) <= 4
    assert lengths[order[0]] != 0  # not simply sorted


def test_a_run_without_a_count_does_not_end():
    order = list(itertools.islice(sampler([1, 2, 3], total=None), 100))
    assert set(order) == {0, 1, 2}


def test_lengths_count_bytes():
    example = Example(text="แม่", language="th", target="mother")
    assert list(byte_lengths([example])) == [9 + 6]


def test_text_dropout_takes_the_question_from_a_share_of_the_examples(processor):
    example = Example(text="the cat sat", language="en", target="a dog")
    whole, none = (
        [StageDataset([example] * 200, processor, text_dropout=share)[i] for i in range(200)]
        for share in (0.0, 1.0)
    )
    assert whole == [whole[0]] * 200
    cue = processor.encode("the cat sat", target="a dog", prompt_template=" = the answer is")
    assert none == [cue] * 200
    half = StageDataset([example] * 200, processor, text_dropout=0.5, seed=3)
    dropped = [half[i] == none[0] for i in range(200)]
    assert all(half[i] in (whole[0], none[0]) for i in range(200))
    assert 70 < sum(dropped) < 130
    assert dropped == [half[i] == none[0] for i in range(200)]  # however often it is read
    other = StageDataset([example] * 200, processor, text_dropout=0.5, seed=4)
    assert dropped != [other[i] == none[0] for i in range(200)]


def test_nothing_to_learn():
    with pytest.raises(DataError, match="no example"):
        check_examples([])
    with pytest.raises(DataError, match=r"example 7 \(de\) has no target"):
        check_examples([Example(text="eins", language="de", id="7")])


def test_what_is_to_be_learned():
    example = Example(text="eins", language="de", target="one", answer="1")
    assert list(to_learn([example], "target")) == [example]
    assert [e.target for e in to_learn([example], "answer")] == ["1"]


def test_spread():
    assert spread(["a", "b", "c", "d"], 2) == ["a", "c"]
    assert spread(["a", "b"], 5) == ["a", "b"]


@given(st.lists(st.text(max_size=1)), st.integers(1, 9))
def test_spread_over_what_is_different(texts, count):
    assert spread_different(lambda: iter(texts), count) == spread(list(dict.fromkeys(texts)), count)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_batches_do_not_depend_on_workers(processor, examples):
    dataset = StageDataset(examples, processor, text_dropout=0.5)
    order = sampler(byte_lengths(examples), total=3 * len(examples))
    zero, two = (
        [
            {name: tensor.tolist() for name, tensor in batch.items()}
            for batch in DataLoader(
                dataset, 2, sampler=order, collate_fn=dataset.collate, num_workers=workers
            )
        ]
        for workers in (0, 2)
    )
    assert zero == two
    assert len(zero) == 33


def test_the_end_is_filled_up_for_several_processes():
    lengths = [3, 1, 4, 1, 5]
    alone = list(sampler(lengths, batch_size=4, total=7))
    filled = sampler(lengths, batch_size=4, total=7, multiple=4)
    assert len(filled) == 8
    assert list(filled) == [*alone, ~alone[-1]]
    assert list(sampler(lengths, batch_size=4, total=8, multiple=4)) == list(
        sampler(lengths, batch_size=4, total=8)
    )


def test_what_only_fills_up_teaches_nothing(processor, examples):
    dataset = StageDataset(examples, processor)
    real, filling = dataset[3], dataset[~3]
    assert filling["encoder_input_ids"] == real["encoder_input_ids"]
    assert set(filling["labels"]) == {-100}
    batch = dataset.collate([filling, filling])
    assert (batch["labels"] == -100).all()
    assert tokens_read(batch) == 0
    assert tokens_read(dataset.collate([real, filling])) == tokens_read(dataset.collate([real])) > 0
