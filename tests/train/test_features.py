import json
from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from factories import make_processor, make_tokenizer
from layalign.data import Example, ExampleTable
from layalign.eval import provenance
from layalign.processing import LayAlignProcessor
from layalign.train.batches import StageDataset
from layalign.train.features import fingerprint
from layalign.train.finetune import PlainDataset, finetune_language_model
from layalign.train.stages import StageConfig
from layalign.train.trainer import train_stage

pytest.importorskip("datasets", reason="needs the data extra")

CONFIG = StageConfig(
    lr=1e-2, gate_lr=5e-2, batch_size=8, epochs=2, eval_every=2, text_dropout=0.5, seed=3
)


@pytest.fixture
def table(examples, tmp_path):
    return ExampleTable.write(examples, tmp_path / "held" / "train.arrow")


@pytest.fixture
def dev_table(dev_examples, tmp_path):
    return ExampleTable.write(dev_examples, tmp_path / "held" / "dev.arrow")


def short(**settings):
    """A processor that cuts something of most examples."""
    lengths = {"encoder_max_length": 4, "prompt_max_length": 7, "target_max_length": 3}
    return make_processor(prompt_template="{question} = the answer is", **lengths, **settings)


def tokenised(examples, **settings):
    dataset = StageDataset(examples, short(), **settings)
    dataset.prepare()
    return dataset


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_ids_and_cuts_are_those_of_a_list(examples, table, dropout):
    listed, held = (tokenised(data, text_dropout=dropout, seed=3) for data in (examples, table))
    assert held.processor.truncations == {}
    order = [*range(len(examples)), 3, 3]
    assert [held[i] for i in order] == [listed[i] for i in order]
    assert held.processor.truncations == listed.processor.truncations
    assert set(listed.processor.truncations) == {"encoder", "prompt", "target"}
    assert list(held.by_language(4)) == list(listed.by_language(4))


def test_plain_text_too(examples, table):
    tokenizer = make_tokenizer()
    listed, held = (
        PlainDataset(data, LayAlignProcessor(tokenizer, tokenizer), 1) for data in (examples, table)
    )
    held.prepare()
    assert [held[i] for i in range(22)] == [listed[i] for i in range(22)]


def test_a_stage_trains_the_same_from_disk(
    new_model, examples, dev_examples, table, dev_table, tmp_path
):
    runs = []
    for name, train, dev in (("list", examples, dev_examples), ("table", table, dev_table)):
        model, processor = new_model(), short()
        folder = tmp_path / name
        result = train_stage(model, processor, train, CONFIG, output_dir=folder, dev_examples=dev)
        weights = {name: model.get_parameter(name).tolist() for name in model.trainable_names()}
        runs.append((weights, replace(result, seconds=0)))
    assert runs[0] == runs[1]
    assert runs[0][1].truncations


def test_a_fine_tune_is_the_same_from_disk(new_language_model, examples, table):
    runs = [
        finetune_language_model(
            new_language_model(),
            *(make_tokenizer(), data),
            config=replace(CONFIG, text_dropout=0, target_max_length=3),
            prompt_template="{question} =",
        )
        for data in (examples, table)
    ]
    assert replace(runs[0], seconds=0) == replace(runs[1], seconds=0)


def ids_files(table):
    return sorted(table.folder.glob("tokens-*.arrow"))


def test_a_resumed_stage_does_not_tokenise_again(
    new_model, processor, table, tmp_path, monkeypatch
):
    train_stage(new_model(), processor, table, CONFIG, output_dir=tmp_path / "out")
    files = ids_files(table)
    assert len(files) == 1

    def refuse(*args, **kwargs):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(LayAlignProcessor, "encode", refuse)
    config = replace(CONFIG, epochs=4)
    again = make_processor(prompt_template="{question} = the answer is")
    result = train_stage(
        new_model(), again, table, config, output_dir=tmp_path / "out", resume=True
    )
    assert result.updates == 11
    assert ids_files(table) == files


def test_a_finished_stage_is_not_tokenised(new_model, processor, table, tmp_path):
    train_stage(new_model(), processor, table, CONFIG, output_dir=tmp_path / "out")
    for file in ids_files(table):
        file.unlink()
    train_stage(new_model(), processor, table, CONFIG, output_dir=tmp_path / "out", resume=True)
    assert not ids_files(table)


def test_damaged_ids_are_made_again(table):
    expected = list(tokenised(table))
    (file,) = ids_files(table)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[: len(content) // 2]):
        file.unlink()  # what is read from it stays as it is
        file.write_bytes(damaged)
        assert list(tokenised(table)) == expected


@pytest.mark.parametrize("settings", [{"text_dropout": 0.3}, {"text_dropout": 0.5, "seed": 1}])
def test_another_dropout_is_tokenised_anew(table, settings):
    tokenised(table, text_dropout=0.5)
    tokenised(table, text_dropout=0.5, seed=0)
    assert len(ids_files(table)) == 1
    tokenised(table, **settings)
    assert len(ids_files(table)) == 2


@pytest.mark.parametrize(("package", "files"), [("sacrebleu", 1), ("transformers", 2)])
def test_only_what_tokenises_counts(package, files, table, monkeypatch):
    tokenised(table)
    found = provenance.version
    monkeypatch.setattr(
        provenance, "version", lambda name: "new" if name == package else found(name)
    )
    tokenised(table)
    assert len(ids_files(table)) == files


def with_json(change):
    """A tokenizer whose file differs."""
    tokenizer = make_tokenizer(specials=True)
    values = json.loads(tokenizer.backend_tokenizer.to_str())
    change(values)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(values))
    return tokenizer


def test_fingerprints():
    first = fingerprint(make_processor())
    used = make_processor(encoder_max_length=2)
    used.encode("ana mayai tatu", target="three")
    used.encoder_max_length = 512
    used.pad([used.encode("ana")])
    assert fingerprint(used) == fingerprint(make_processor()) == first
    others = [
        make_processor(prompt_template="?"),
        make_processor(target_max_length=9),
        make_processor(split_digits=True),
        make_processor(question_max_ratio=2.0),
        make_processor(language_codes={"sw": "swh_Latn"}),
        LayAlignProcessor(make_tokenizer(), make_tokenizer()),
        LayAlignProcessor(
            with_json(lambda values: values["model"]["vocab"].update(wa=0)), make_tokenizer()
        ),
    ]
    assert len({first, *map(fingerprint, others)}) == len(others) + 1


def test_codes_of_earlier_calls_do_not_show():
    processor = make_processor(language_codes={"sw": "swh_Latn", "th": "tha_Thai"})
    first = fingerprint(processor)
    processor.encode("ana", language="th")
    assert fingerprint(processor) == first


def test_tokenizers_that_cannot_be_compared(monkeypatch):
    tokenizer = make_tokenizer(specials=True)
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    processor = LayAlignProcessor(tokenizer, tokenizer)
    assert fingerprint(processor) != fingerprint(processor)


def test_mistakes_show_when_ids_are_made(table):
    processor = make_processor(language_codes={"th": "tha_Thai"})
    with pytest.raises(ValueError, match="'sw' has no code"):
        StageDataset(table, processor).prepare()
    assert not ids_files(table)
    with pytest.raises(ValueError, match="no target"):
        StageDataset(
            ExampleTable.write([Example(text="a", language="sw")], table.folder / "b.arrow"),
            processor,
        )
