"""The table of bad inputs: for each the message that it gets and the status that it leaves.

``test_bad_input.py`` runs every row. Messages are patterns of one line; paths are relative to the
folder that a row is run in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from damage import Prepare, edited, halved, inside, removed, reweighed, written
from factories import make_processor, make_tokenizer
from layalign.chat_format import chat_prompt_template
from layalign.data import DataSource, Example, load_examples, read_jsonl
from layalign.errors import CheckpointError, ConfigError, DataError, LayAlignError
from layalign.eval import evaluate_checkpoint
from layalign.generation import generate
from layalign.model import LayAlignConfig, LayAlignModel
from layalign.train import StageConfig

FAILED, USAGE_STATUS = 1, 2

# Arguments, and what is said about them; the status is 2.
USAGE = {
    "trian": "'trian'.*did you mean 'train'",
    "--versoin": "did you mean '--version'",
    "train recipe.yaml --drx=1": "'--drx'.*layalign train --help",
    "train recipe.yaml --res": "'--res'",  # abbreviations are not taken
    "train recipe.yaml other": "unknown argument 'other'",
    "generate folder": "TEXT",
    "generate folder text --stream --json": "--stream and --json",
    "generate folder text --temperature nan": "above 0, got 'nan'",
    "evaluate folder --limt 3": "'--limt'.*did you mean '--limit'",
    "evaluate folder --metric numbr": "--metric.*did you mean 'number'",
    "evaluate folder --limit 0": "at least 1, got '0'",
    "evaluate folder --scoring loglikelyhood": "did you mean 'loglikelihood'",
    "evaluate folder --template paper": "--template needs --tasks",
    "evaluate folder --include dir": "--include needs --harness",
    "evaluate folder --harness": "--harness needs --tasks",
    "evaluate folder --harness --tasks a --languages sw": "--languages does not apply to --harness",
    "quickstart --minutes -1": "above 0, got '-1'",
    "quickstart --seed x": "--seed.*'x'",
    "compare recipe.yaml": "--methods",
    "compare recipe.yaml --methods layalign --jobs 0": "at least 1, got '0'",
    "convert file --encoder e --output o": "--llm is needed",
    "convert folder --to published --llm l --output o": "--llm does not apply to --to published",
    "convert file --encoder-layers 1-3 --output o": "like 1,3, got '1-3'",
    "data check": "expected either sources or --recipe",
    "data check x.tsv --recipe r.yaml": "expected either sources or --recipe",
    "data check --recipe r.yaml --split test": "--split does not apply to --recipe",
    "data check x.tsv --codes sw": "expected NAME=VALUE",
    "data stats x.tsv --set max_length=3": "--set changes checks",
    "models fetsh": "did you mean 'fetch'",
    "analyze folder --batch-size 1.5": "at least 1, got '1.5'",
    "report": "RUN_DIR",
}

# Text of a recipe's file, and what is said about it; the status is 2.
RECIPE_TEXTS: dict[str | bytes, str] = {
    "": "holds NoneType; expected a mapping",
    "- a": "holds list; expected a mapping",
    "a:\n\t- b": "is not valid YAML in line 2",
    "a: 1\na: 2": r"key 'a' is given twice \(line 2\)",
    "a: 1\n---\nb: 2": "found another document",
    "? [a]\n: b": "line 1: expected text as a key",
    "a: *b": "undefined alias 'b'",
    "<<: 3": "for merging",
    "a: 2001-13-45": "is not valid YAML: month must be",
    "a: !!int x": "is not valid YAML: invalid literal",
    "a: !!bool x": "is not valid YAML",
    "a: !!map [b]": "line 1: expected a mapping",
    "a: !!python/object/apply:os.system [ls]": "could not determine a constructor for the tag",
    "seed: " + "9" * 5000: "is not valid YAML: Exceeds the limit",
    "{a: " * 2000: "is not valid YAML: the values are nested too deep",
    "a: \0": "#x0000",
    b"\xff\xfea": "is not UTF-8 text",
    "#" * (1 << 20) + "\n": "is longer than 1048576 characters",
    "1: 2": "unknown key '1'; expected one of output_dir",
}

# Changes of a good recipe, and what is said about them; the status is 2.
RECIPES = {
    "x": "override 'x' is not key=value",
    "a=[": "override 'a=\\[': the value is not valid YAML",
    "seed=2001-13-45": "override .*month must be",
    "sed=1": "unknown key 'sed'; did you mean 'seed'",
    "seed=-1": "seed is -1; expected from 0",
    f"seed=1{'0' * 30}": "seed is 1.*; expected a whole number",
    "output_dir=''": "output_dir is empty",
    "dtype=int8": "dtype is 'int8'; expected one of auto",
    "method=zzz": "unknown method 'zzz'",
    "stage=null": "stage is None; expected a mapping",
    "stage.translation=null": "no stage is given",
    "stage.translation.lr=.inf": "lr is inf; expected a number",
    "stage.translation.lr=.nan": "lr is nan; expected a number",
    f"stage.translation.lr=1{'0' * 400}": "lr is 1.*; expected a number",
    f"stage.translation.batch_size=1{'0' * 400}": "batch_size is 1.*; expected a whole number",
    "stage.translation.epochs=.inf": "epochs is inf",
    "stage.translation.max_updates=0": "max_updates is 0; expected more than 0",
    "stage.translation.micro_batch_size=3": "expected a divisor of batch_size, which is 2",
    "stage.translation.betas=[0.9]": "betas has 1 entries; expected 2",
    "stage.translation.warmup=1": "warmup is 1.0; expected from 0 to below 1",
    "model.encoder=''": "model.encoder is missing",
    "model.adapter_width=0": "adapter_width is 0; expected at least 1",
    "model.lexical={texts: 0}": "model.lexical: texts is 0; expected more than 0",
    "model.lexical={updates: 0}": "model.lexical: updates is 0",
    "model.encoder_layers=first:99": "expected K from 1 to 3",
    "model.lora={rank: 0}": "model.lora: rank is 0",
    "model.lora={rank: 2, targets: [zz]}": "lora.targets names zz",
    "data.translation.train=[]": "data.translation: train is empty",
    "data.translation.train.9.limit=1": "data.translation.train.9: expected an index from 0 to 0",
    "data.translation.train.0.limit=0": "limit must be at least 1",
    "data.translation.train.0.name=''": "empty name, path or hub",
    "data.translation.train.0.language=swahili": "unknown language 'swahili'.*did you mean 'sw'",
    "data.translation.train.0.template='{what}'": "unknown name 'what'",
    "data.translation.train.0.clean={max_length: -1}": "max_length is -1",
    "data.translation.mix={temperature: -1}": "temperature is -1.0",
    "processor.encoder_max_length=0": "encoder_max_length is 0; expected at least 1",
    "processor.question_max_ratio=-1": "question_max_ratio is -1.0; expected more than 0",
    "processor.language_codes=zz": "unknown table of language codes 'zz'",
    "processor.system=Hello": "system is set without chat",
    "evaluation.batch_size=0": "batch_size is 0; expected at least 1",
}


class Data(NamedTuple):
    """A data file, how it is read, and what is said about it."""

    name: str
    content: str | bytes | None
    message: str
    status: int = FAILED
    arguments: str = "--language sw"


DATA = [
    Data("x.jsonl", None, "x.jsonl: no such file; check the path"),
    Data("x.jsonl", "", "the file is empty"),
    Data("x.jsonl", "{", "line 1: not valid JSON"),
    Data("x.jsonl", "[1]", "line 1: expected a JSON object, found a list"),
    Data("x.jsonl", '{"a": 1}', "line 1: no column 'text' for text; the columns are 'a'"),
    Data("x.jsonl", '{"text": null}', "'text' is null"),
    Data("x.jsonl", '{"text": ["a"]}', "'text' must be a text, found a list"),
    Data("x.jsonl", '{"text": " "}', "text is empty"),
    Data("x.jsonl", '{"text": "a\\u0000"}', r"unusable character U\+0000"),
    Data("x.jsonl", '{"text": "a\\ud800"}', r"unusable character U\+D800"),
    Data("x.jsonl", '{"text": NaN}', "NaN is not a number"),
    Data("x.jsonl", '{"text": ' + "9" * 5000 + "}", "JSON value not accepted"),
    Data("x.jsonl", '{"text": ' + "[" * 99999 + "}", "JSON value not accepted"),
    Data("x.jsonl", '{"text": "' + "a" * (1 << 20) + '"}', "line 1: longer than 1048576 bytes"),
    Data("x.jsonl", '{"text":"a","id":1}\n{"text":"b","id":1}', "line 2: id '1' .* already at"),
    Data("x.jsonl", '{"text":"a","language":"\\u001b[31m"}', r"'\\x1b\[31m'", arguments=""),
    Data("x.jsonl", '{"text": "a"}'.encode("utf-16"), "line 1: not UTF-8, found byte 0xff"),
    Data("x.jsonl.gz", b"hello", "damaged or truncated gzip file"),
    Data("x.json", "[{", "item 1: not valid JSON"),
    Data("x.json", "[]", "the JSON array is empty"),
    Data("x.json", '[{"text":"a"},]', "item 2: not valid JSON"),
    Data("x.csv", "a,a\n1,2\n", "a different name for every column"),
    Data("x.csv", 'a,b\n"1,2\n', "line 2: not valid CSV"),
    Data("x.csv", "text,b\n1\n", "line 2: expected 2 values"),
    Data("x.tsv", "a\n", "line 1: expected 2 tab-separated fields, found 1"),
    Data("x.tsv", "a\tb\n", "bitext needs language", USAGE_STATUS, ""),
    Data("x.tsv", "a\tb\n", "two different numbers", USAGE_STATUS, "--language sw --columns 1,1"),
    Data("x.parquet", b"PAR1xx", "not a readable Parquet file"),
    Data("x.txt", "a", "cannot tell the format; set format to one of", USAGE_STATUS),
    Data("x.jsonl", "{}", "cannot tell the format 'zzz'", USAGE_STATUS, "--format zzz"),
    Data("x.jsonl", "{}", "split does not apply to a file", USAGE_STATUS, "--split test"),
    Data("x.jsonl", "{}", "unknown key 'clean.zz'", USAGE_STATUS, "--set zz=1"),
    Data("a" * 300 + ".jsonl", None, r"a\.jsonl: File name too long"),
]


class Damaged(NamedTuple):
    """What is done to a good checkpoint, and what is said about it."""

    prepare: Prepare
    message: str
    command: str = "generate checkpoint ana --max-new-tokens 1"
    status: int = FAILED


INSPECT = "inspect checkpoint"
REPORT = "report checkpoint"
_LLM = "language_model/"
_NAN = float("nan")

CHECKPOINTS = [
    Damaged(removed("config.json"), "checkpoint has no config.json", INSPECT),
    Damaged(removed("model.safetensors"), "checkpoint has no model.safetensors", INSPECT),
    Damaged(written("config.json", "{"), "config.json is damaged", INSPECT),
    Damaged(written("generation_config.json", "{"), "generation_config.json is damaged"),
    Damaged(written("config.json", "{"), "no config.json that names a model_type"),
    Damaged(written("config.json", "[]"), "config.json is damaged", INSPECT),
    Damaged(written("config.json", b"\xff"), "config.json is damaged", INSPECT),
    Damaged(edited("config.json", encoder_config=3), "config.json is damaged", INSPECT),
    Damaged(edited("config.json", text_config=None), "text_config is missing", INSPECT),
    Damaged(edited("config.json", text_config={}), "has model_type ''", INSPECT),
    Damaged(edited("config.json", gate=5), "gate is 5; expected one of scalar", INSPECT),
    Damaged(edited("config.json", encoder=7), "encoder is 7; expected text", INSPECT),
    Damaged(edited("config.json", fingerprints=[1]), "fingerprints is .1.; expected", INSPECT),
    Damaged(edited("config.json", aligner_width="a"), "aligner_width is 'a'; expected", INSPECT),
    Damaged(edited("config.json", language_layers=[99]), r"language_layers is \[99\]", INSPECT),
    Damaged(edited("config.json", bos_token_id="x"), "bos_token_id is 'x'; expected", INSPECT),
    Damaged(edited("config.json", dtype="float9"), "no attribute 'float9'", INSPECT),
    Damaged(inside("config.json", "text_config", num_attention_heads=0), "is damaged", INSPECT),
    Damaged(inside("config.json", "text_config", hidden_size="a"), "is damaged", INSPECT),
    Damaged(halved("model.safetensors"), "model.safetensors is damaged or cut off", INSPECT),
    Damaged(written("model.safetensors", ""), "is damaged or cut off", INSPECT),
    Damaged(written("model.safetensors", b"\xff" * 99), "is damaged or cut off", INSPECT),
    Damaged(
        reweighed("model.safetensors", lambda t: {**t, "gates": torch.zeros(5)}),
        r"gates has shape \(5,\), expected \(2,\)",
    ),
    Damaged(
        reweighed("model.safetensors", lambda t: {**t, "gates": t["gates"] * _NAN}),
        "gates holds what are no finite numbers",
    ),
    Damaged(
        reweighed("model.safetensors", lambda t: {**t, "gates": t["gates"].long()}),
        "gates holds what are no finite numbers",
    ),
    Damaged(
        reweighed("model.safetensors", lambda t: {"more": t["gates"]}),
        r"missing .*'gates'.*, unexpected \['more'\]",
    ),
    Damaged(removed("processor_config.json"), "has no processor_config.json"),
    Damaged(written("processor_config.json", "{"), "the processor in checkpoint is damaged"),
    Damaged(written("processor_config.json", "3"), "the processor in checkpoint is damaged"),
    Damaged(edited("processor_config.json", what=1), "unexpected keyword argument 'what'"),
    Damaged(
        edited("processor_config.json", prompt_template=5),
        "processor in checkpoint: prompt_template is 5; expected text",
        status=USAGE_STATUS,
    ),
    Damaged(
        edited("processor_config.json", encoder_max_length=2.5),
        "encoder_max_length is 2.5; expected a whole number",
        status=USAGE_STATUS,
    ),
    Damaged(
        edited("processor_config.json", question_max_ratio=_NAN),
        "question_max_ratio is nan",
        status=USAGE_STATUS,
    ),
    Damaged(
        edited("processor_config.json", language_codes=5),
        "unknown table of language codes 5",
        status=USAGE_STATUS,
    ),
    Damaged(
        edited("processor_config.json", language_codes={"sw": "swh_Latn"}),
        "language 'th' has no code",
        "generate checkpoint ana --language th",
    ),
    Damaged(written("tokenizer/tokenizer.json", "{}"), "the processor in checkpoint is damaged"),
    Damaged(written("tokenizer/tokenizer_config.json", "[]"), "processor .* is damaged"),
    Damaged(removed("encoder_tokenizer/tokenizer.json"), "processor .* is damaged"),
    Damaged(
        edited("tokenizer/tokenizer_config.json", eos_token=None),
        "no EOS token",
        status=USAGE_STATUS,
    ),
    Damaged(written(_LLM + "config.json", "{"), "cannot load the language model"),
    Damaged(written(_LLM + "config.json", '{"model_type": "zzz"}'), "model type `zzz`"),
    Damaged(edited(_LLM + "config.json", hidden_size="x"), "cannot load the language model"),
    Damaged(edited(_LLM + "config.json", num_attention_heads=0), "cannot load the language model"),
    Damaged(edited(_LLM + "config.json", quantization_config=3), "cannot load the language model"),
    Damaged(removed(_LLM + "model.safetensors"), "no file named model.safetensors"),
    Damaged(halved(_LLM + "model.safetensors"), "cannot load the language model .*incomplete"),
    Damaged(
        reweighed(_LLM + "model.safetensors", lambda t: dict([*t.items()][1:])),
        "language model 'checkpoint/language_model' lacks 1 weights, such as ",
    ),
    Damaged(
        written(_LLM + "model.safetensors.index.json", '{"weight_map": {"a": "../../b"}}'),
        r"index.json names '../../b'; expected a file beside it",
    ),
    Damaged(written("encoder/config.json", "{"), "cannot load the encoder"),
    Damaged(written("config.json", "[" * 99999), "no config.json that names a model_type"),
    Damaged(
        written("settings.json", "[" * 99999),
        "settings.json cannot be read; choose another output",
        "evaluate checkpoint --tasks word_problems --limit 1 --output checkpoint --resume",
        USAGE_STATUS,
    ),
    Damaged(written("summary.json", "[]"), "summary.json: holds list, not an object", REPORT),
    Damaged(written("summary.json", "[" * 99999), "summary.json: is not valid JSON", REPORT),
    Damaged(
        written("summary.json", '{"stages": {"task": {"losses": [1' + "0" * 400 + "]}}}"),
        "summary.json: holds something unexpected .int too large",
        REPORT,
    ),
    Damaged(
        written("comparison.json", '{"schema": 1, "methods": 3}'),
        "comparison.json: holds something unexpected",
        REPORT,
    ),
    Damaged(written("results.json", '{"tasks": {}'), "results.json: is not valid JSON", REPORT),
]

# Other commands and what is said; they are run in a folder with the good checkpoint.
COMMANDS = {
    "inspect nowhere": (FAILED, "no checkpoint folder 'nowhere'; expected a folder with"),
    "inspect ''": (FAILED, "no checkpoint folder ''"),
    f"inspect {'a' * 5000}": (FAILED, "a: File name too long"),
    "evaluate nowhere": (FAILED, "no checkpoint folder 'nowhere'"),
    "evaluate checkpoint --data none.jsonl": (FAILED, "none.jsonl: no such file"),
    "evaluate checkpoint --languages qq-qq-qq": (FAILED, "unknown language 'qq-qq-qq'"),
    "evaluate checkpoint --prompt-template x": (USAGE_STATUS, "expected one with {question}"),
    "evaluate checkpoint --resume": (USAGE_STATUS, "only an evaluation in a folder"),
    "evaluate checkpoint --output /proc/x/y.json": (USAGE_STATUS, "cannot be written"),
    "evaluate checkpoint --tasks zzz": (USAGE_STATUS, "unknown task 'zzz'"),
    "evaluate checkpoint --tasks none.yaml": (USAGE_STATUS, "none.yaml: cannot be read"),
    "evaluate checkpoint --tasks mgsm": (USAGE_STATUS, "task 'mgsm' needs data"),
    "evaluate checkpoint --tasks mgsm --data none": (FAILED, "none/mgsm: no such file or folder"),
    "evaluate checkpoint --tasks word_problems --set max_new_tokens=0": (
        USAGE_STATUS,
        "max_new_tokens is 0",
    ),
    "generate checkpoint '' ": (FAILED, "text is empty"),
    "generate checkpoint a --language zz-zz-zz": (FAILED, "unknown language 'zz-zz-zz'"),
    "generate checkpoint a --stream --num-beams 2": (USAGE_STATUS, "only one beam can be streamed"),
    "analyze checkpoint --data none.tsv --language sw": (FAILED, "none.tsv"),
    "report checkpoint/config.json": (USAGE_STATUS, "is not a folder"),
    "status checkpoint": (USAGE_STATUS, "has no recipe.yaml; expected the output_dir of a run"),
    "report .": (USAGE_STATUS, "holds nothing that a report shows"),
    "convert none.bin --encoder checkpoint/encoder --llm checkpoint/language_model --output o": (
        FAILED,
        "no state file 'none.bin'",
    ),
    "convert checkpoint --to published --output state.txt": (USAGE_STATUS, "expected a name that"),
    "models fetch zzz": (USAGE_STATUS, "unknown embedded model 'zzz'"),
    "data check hub: --split test": (USAGE_STATUS, "empty name, path or hub"),
    "data check word_problems": (USAGE_STATUS, "needs a split"),
    "data check checkpoint --language sw": (USAGE_STATUS, "cannot tell the format"),
    "train none.yaml": (USAGE_STATUS, "none.yaml: cannot be read"),
    "train checkpoint": (USAGE_STATUS, "checkpoint: cannot be read"),
}


# Calls from Python, given the folder with the good checkpoint, and their errors.
CALLS: list[tuple[Callable[[Path], Any], type[LayAlignError], str]] = [
    (lambda folder: LayAlignModel.from_pretrained(folder), CheckpointError, "has no config.json"),
    (lambda folder: generate(folder / "checkpoint", []), DataError, "no text to answer"),
    (lambda _: Example(text="", language="sw"), DataError, "text is empty"),
    (lambda _: Example(text="a", language="zz-zz-zz"), DataError, "unknown language"),
    (lambda _: DataSource(), ConfigError, "either name or path or hub"),
    (lambda _: DataSource(name="zzz", split="test"), ConfigError, "unknown data set 'zzz'"),
    (
        lambda _: load_examples(DataSource(path="none.jsonl", language="sw")),
        DataError,
        "no such file",
    ),
    (lambda _: [*read_jsonl("a.jsonl", columns={"tekst": "a"})], ConfigError, "unknown field"),
    (lambda _: StageConfig(epochs=float("inf")), ConfigError, "epochs is inf"),
    (lambda _: StageConfig(seed=-1), ConfigError, "seed is -1"),
    (lambda _: StageConfig(epochs=None), ConfigError, "the stage has no end"),
    (lambda _: LayAlignConfig({"model_type": "zz"}, {}), ConfigError, "model_type 'zz'"),
    (lambda _: make_processor(encoder_max_length="x"), ConfigError, "encoder_max_length is 'x'"),
    (lambda _: make_processor(prompt_template=None), ConfigError, "prompt_template is None"),
    (lambda _: make_processor()(""), DataError, "text is empty"),
    (lambda _: make_processor()([]), DataError, "no text given"),
    (lambda _: make_processor()(["a"], target=["b", "c"]), DataError, "2 entries for 1 texts"),
    (lambda _: make_processor()(3), DataError, "text is int"),
    (lambda _: chat_prompt_template(make_tokenizer()), ConfigError, "has no chat template"),
    (
        lambda folder: evaluate_checkpoint(folder / "checkpoint", limit=0),
        ConfigError,
        "limit must be at least 1",
    ),
]
