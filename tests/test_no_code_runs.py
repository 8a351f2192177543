"""Files of strangers never run code: pickles, models with Python files, data sets with scripts."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from damage import edited
from factories import make_encoder, make_language_model, make_model, make_processor, make_tokenizer
from layalign.data import DataSource, Example, load_examples
from layalign.data.hub import hub_rows
from layalign.errors import BackboneError, DataError, LayAlignError
from layalign.eval.loading import load_translator
from layalign.model import LayAlignModel
from layalign.model.backbones import load_encoder, load_language_model
from layalign.model.checkpoint import describe
from layalign.model.states import open_state
from layalign.model.tokenizers import load_tokenizer
from layalign.processing import LayAlignProcessor
from layalign.report import write_report
from layalign.train import StageConfig, train_stage

SOURCE = Path(__file__).parents[1] / "src" / "layalign"
MARKER = "the code was run"

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


class Payload:
    """Unpickling one makes a folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (MARKER,)


FORMS: dict[str, Callable[[], bytes]] = {
    "pickle": lambda: pickle.dumps(Payload()),
    "old pickle": lambda: pickle.dumps({"weight": Payload()}, protocol=2),
    "torch": lambda: saved(torch.save),
    "old torch": lambda: saved(torch.save, _use_new_zipfile_serialization=False),
    "numpy": lambda: saved(lambda value, file: np.save(file, np.array([value], dtype=object))),
}
in_every_form = pytest.mark.parametrize("form", FORMS)


def saved(save: Callable[..., Any], **options: Any) -> bytes:
    file = io.BytesIO()
    save(Payload(), file, **options)
    return file.getvalue()


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that no payload has run, and that they can."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(MARKER).exists()
    pickle.loads(FORMS["pickle"]())
    assert Path(MARKER).exists()


def refuse(load: Callable[..., Any], *args: Any, **options: Any) -> None:
    with pytest.raises(LayAlignError) as caught:
        load(*args, **options)
    assert "\n" not in str(caught.value)


def only_pickles(folder: Path, content: bytes) -> None:
    """Put a pickle in the place of a model's weights."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


@in_every_form
def test_weights(form: str) -> None:
    content = FORMS[form]()
    for name in ("state.bin", "state.pt", "state.safetensors"):
        Path(name).write_bytes(content)
        refuse(open_state, name)
    make_language_model().save_pretrained("llm")
    make_encoder().save_pretrained("encoder")
    for folder, load in (("llm", load_language_model), ("encoder", load_encoder)):
        only_pickles(Path(folder), content)
        refuse(load, folder)
        shutil.copy(f"{folder}/pytorch_model.bin", f"{folder}/model.safetensors")
        refuse(load, folder)
    shutil.move("encoder", "translator")
    edited("config.json", model_type="mt5")(Path("translator"))
    refuse(load_translator, "translator")


@in_every_form
def test_loras(form: str) -> None:
    pytest.importorskip("peft")
    make_language_model().save_pretrained("base")
    Path("lora").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "base", "target_modules": ["q_proj"]}
    Path("lora/adapter_config.json").write_text(json.dumps(config))
    Path("lora/adapter_model.bin").write_bytes(FORMS[form]())
    refuse(load_language_model, "lora")


def test_names_of_modules_in_loras(monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT would import it."""
    monkeypatch.syspath_prepend(".")
    Path("evil.py").write_text(f"import os; os.mkdir({MARKER!r})")
    make_language_model().save_pretrained("base")
    Path("lora").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "base", "target_modules": ["q_proj"]}
    config |= {"megatron_config": {"a": 1}, "megatron_core": "evil"}
    Path("lora/adapter_config.json").write_text(json.dumps(config))
    refuse(load_language_model, "lora")


@in_every_form
def test_files_beside_a_checkpoint(form: str, tiny_checkpoint: Path) -> None:
    shutil.copytree(tiny_checkpoint, "checkpoint")
    for name in (
        "model.bin",
        "pytorch_model.bin",
        "training_args.bin",
        "optimizer.pt",
        "vocab.pkl",
    ):
        Path("checkpoint", name).write_bytes(FORMS[form]())
        Path("checkpoint", "tokenizer", name).write_bytes(FORMS[form]())
    LayAlignModel.from_pretrained("checkpoint")
    LayAlignProcessor.from_pretrained("checkpoint")
    own = {"processor_config.json": LayAlignProcessor, "config.json": LayAlignModel}
    for name, kind in {**own, "model.safetensors": LayAlignModel}.items():
        Path("checkpoint", name).write_bytes(FORMS[form]())
        refuse(kind.from_pretrained, "checkpoint")


@in_every_form
def test_tokenizers(form: str) -> None:
    for name in ("tokenizer.json", "spiece.model", "vocab.pkl", "tokenizer_config.json"):
        make_tokenizer().save_pretrained("tokenizer")
        Path("tokenizer/tokenizer.json").unlink()
        Path("tokenizer", name).write_bytes(FORMS[form]())
        refuse(load_tokenizer, "tokenizer")
        shutil.rmtree("tokenizer")


def test_checkpoints_of_a_run() -> None:
    def train(**options: Any) -> None:
        config = StageConfig(batch_size=2, epochs=None, max_updates=2, eval_every=1)
        examples = [Example(text="ana mayai", language="sw", target="anna has eggs")] * 4
        train_stage(make_model(), make_processor(), examples, config, output_dir="run", **options)

    train()
    shutil.rmtree("run/checkpoint-2")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        file = Path("run/checkpoint-1", name)
        good = file.read_bytes()
        file.write_bytes(FORMS["torch"]())
        refuse(train, resume=True)
        file.write_bytes(good)


@in_every_form
def test_data(form: str) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the data extra")
    content = FORMS[form]()
    for name in ("x.jsonl", "x.csv", "x.json", "x.parquet", "x.jsonl.gz"):
        Path(name).write_bytes(content)
        refuse(load_examples, DataSource(path=name, language="sw"))
    for name in ("train.pkl", "train.arrow"):
        shutil.rmtree("set", ignore_errors=True)
        Path("set").mkdir()
        Path("set", name).write_bytes(content)
        refuse(read_set, datasets)


@pytest.mark.parametrize("name", ["npy", "npz", "pth", "pkl", "pyd"])
def test_archives_of_data(name: str) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the data extra")
    content = FORMS["torch" if name == "pth" else "numpy" if "np" in name else "pickle"]()
    Path("set").mkdir()
    with tarfile.open("set/train.tar", "w") as archive:
        for i in range(2):
            for member in (tarfile.TarInfo(f"{i}.{name}"), tarfile.TarInfo(f"{i}.txt")):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with suppress(DataError):  # some are left alone
        read_set(datasets)


def read_set(datasets: Any) -> None:
    datasets.config.HF_DATASETS_CACHE = Path("cache").absolute()
    for _ in hub_rows("set", subset=None, split="train", revision=None):
        pass


def test_types_that_arrow_would_unpickle() -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the data extra")
    from pyarrow import parquet

    own = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": FORMS["pickle"](),
    }
    schema = pa.schema([pa.field("text", pa.string(), metadata=own)])
    parquet.write_table(pa.table([["a"]], schema=schema), "x.parquet")
    [example] = load_examples(DataSource(path="x.parquet", language="sw"))
    assert example.text == "a"


@in_every_form
def test_results(form: str) -> None:
    for name in ("comparison.json", "summary.json", "results.json", "recipe.yaml"):
        Path("run").mkdir()
        Path("run", name).write_bytes(FORMS[form]())
        refuse(write_report, ["run"])
        shutil.rmtree("run")


CODE = f"import os; os.mkdir({MARKER!r})\nclass Own: pass\n"


@pytest.mark.parametrize("family", ["llama", "own"])
def test_models_with_code(family: str) -> None:
    own = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForCausalLM"), "own.Own")
    make_language_model().save_pretrained("llm")
    make_tokenizer().save_pretrained("llm")
    edited("config.json", auto_map=own, model_type=family)(Path("llm"))
    edited(
        "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["own.Own", "own.Own"]},
        tokenizer_class="Own",
    )(Path("llm"))
    Path("llm/own.py").write_text(CODE)
    Path("llm/custom_generate").mkdir()
    Path("llm/custom_generate/generate.py").write_text(CODE)
    if family == "llama":  # transformers has it
        load_language_model("llm")
    else:
        refuse(load_language_model, "llm")
        refuse(load_encoder, "llm")
        refuse(load_translator, "llm")
    refuse(load_tokenizer, "llm")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_models_that_ask_for_kernels_of_the_hub(key: str, tiny_checkpoint: Path) -> None:
    def refuse_kernel(load: Callable[..., Any], place: str) -> None:
        with pytest.raises(BackboneError, match=f"'{place}' asks for .* 'evil/kernel'.*code from"):
            load(place)

    make_language_model().save_pretrained("llm")
    edited("config.json", **{key: "evil/kernel"})(Path("llm"))
    for load in (load_language_model, load_encoder, load_translator):
        refuse_kernel(load, "llm")
    shutil.copytree(tiny_checkpoint, "checkpoint")
    for value in ("evil/kernel", {"text_config": "evil/kernel"}):
        edited("config.json", **{key: value})(Path("checkpoint"))
        for load in (LayAlignModel.from_pretrained, AutoModel.from_pretrained, describe):
            refuse_kernel(load, "checkpoint")


def test_kernels_of_the_hub_are_for_users_to_name() -> None:
    """By an argument; transformers then looks for the package that fetches them."""
    make_language_model().save_pretrained("llm")
    with pytest.raises(BackboneError, match="cannot load the language model 'llm'"):
        load_language_model("llm", attn_implementation="some/kernel")


def test_data_sets_with_code() -> None:
    datasets = pytest.importorskip("datasets", reason="needs the data extra")
    Path("set").mkdir()
    Path("set/set.py").write_text(CODE)
    Path("set/train.jsonl").write_text('{"text": "a"}')
    refuse(read_set, datasets)


FILES = sorted(SOURCE.rglob("*.py"))
OWN = ("LayAlignModel", "LayAlignProcessor", "LayAlignConfig", "PeftModel")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_loader_of_ours_could(path: Path) -> None:
    """``pickle`` is only named to catch its error; every other loader is told to run nothing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.unsafe_load")
        if called == "torch.load":
            assert options["weights_only"] == "True"
        if called == "np.load":
            assert options["allow_pickle"] == "False"
        if called.endswith(".from_pretrained") and not called.startswith(OWN):
            assert options.get("trust_remote_code") == "False", f"line {node.lineno}"
