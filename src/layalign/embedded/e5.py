"""Turn the 4-bit file of multilingual-e5-small into an ordinary Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from layalign.embedded.e5_file import E5File, E5Header, read_e5
from layalign.errors import DownloadError

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer
    from transformers import BertConfig, PreTrainedTokenizerFast

MASK_TOKEN = "<mask>"
FULLWIDTH_TILDE, TILDE_STAND_IN = "\uff5e", "\ue000"


def tensor_names(file: E5File) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield for every tensor its name in the file, its name in ``BertModel`` and its shape."""
    header = file.header
    hidden, inner = header.hidden_size, header.intermediate_size
    yield "emb.word", "embeddings.word_embeddings.weight", (header.n_rows, hidden)
    yield "emb.pos", "embeddings.position_embeddings.weight", (header.n_positions, hidden)
    yield "emb.type", "embeddings.token_type_embeddings.weight", (header.n_types, hidden)
    yield "emb.ln.w", "embeddings.LayerNorm.weight", (hidden,)
    yield "emb.ln.b", "embeddings.LayerNorm.bias", (hidden,)
    linears = {
        "q": ("attention.self.query", hidden, hidden),
        "k": ("attention.self.key", hidden, hidden),
        "v": ("attention.self.value", hidden, hidden),
        "ao": ("attention.output.dense", hidden, hidden),
        "fi": ("intermediate.dense", inner, hidden),
        "fo": ("output.dense", hidden, inner),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(header.n_layers):
        prefix = f"encoder.layer.{layer}."
        for short, (long, d_out, d_in) in linears.items():
            yield f"l{layer}.{short}.w", f"{prefix}{long}.weight", (d_out, d_in)
            yield f"l{layer}.{short}.b", f"{prefix}{long}.bias", (d_out,)
        for short, long in norms.items():
            yield f"l{layer}.{short}.w", f"{prefix}{long}.weight", (hidden,)
            yield f"l{layer}.{short}.b", f"{prefix}{long}.bias", (hidden,)


def build_tokenizer(file: E5File) -> PreTrainedTokenizerFast:
    """Build the XLM-R Unigram tokenizer from the stored pieces."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    header = file.header
    bos, eos, pad, unk = (
        file.pieces[i][0] for i in (header.bos, header.eos, header.pad, header.unk)
    )
    tokenizer = Tokenizer(models.Unigram(file.pieces, unk_id=header.unk, byte_fallback=False))
    # Against the table in the file, NFKC composes letters with combining accents, as XLM-R's own
    # normaliser does, and would break the full-width tilde, which XLM-R keeps.
    normalizer: list[Normalizer] = [
        normalizers.Replace(FULLWIDTH_TILDE, TILDE_STAND_IN),
        normalizers.Nmt(),
        normalizers.NFKC(),
        normalizers.Replace(TILDE_STAND_IN, FULLWIDTH_TILDE),
        normalizers.Strip(),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
    tokenizer.normalizer = normalizers.Sequence(normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, header.bos), (eos, header.eos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        cls_token=bos,
        eos_token=eos,
        sep_token=eos,
        pad_token=pad,
        unk_token=unk,
        mask_token=MASK_TOKEN,
        model_max_length=header.n_positions,
    )


def bert_config(header: E5Header) -> BertConfig:
    """Return the model's configuration."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=header.n_rows,
        hidden_size=header.hidden_size,
        num_hidden_layers=header.n_layers,
        num_attention_heads=header.n_heads,
        intermediate_size=header.intermediate_size,
        max_position_embeddings=header.n_positions,
        type_vocab_size=header.n_types,
        # Not header's 9.999999960041972e-13, but the decimal it was rounded from.
        layer_norm_eps=float(f"{header.layer_norm_eps:.7g}"),
        hidden_act="gelu",
        pad_token_id=header.pad,
        bos_token_id=header.bos,
        eos_token_id=header.eos,
    )


def convert(path: Path, folder: Path) -> None:
    """Write the model and its tokenizer as a Hugging Face folder.

    Args:
        path: The 4-bit file.
        folder: An existing folder; gets config, float32 safetensors and tokenizer files.

    Raises:
        DownloadError: The file is damaged.
    """
    import torch
    from transformers import BertModel

    file = read_e5(path)
    table = list(tensor_names(file))
    wrong = file.tensors.keys() ^ {name for name, _, _ in table}
    if wrong:
        raise DownloadError(
            f"{path.name} is damaged: missing or unexpected tensors {sorted(wrong)[:5]}; "
            "delete it and fetch again"
        )
    with torch.device("meta"):  # no memory and no random values: every tensor is replaced
        model = BertModel(bert_config(file.header), add_pooling_layer=False)
    model.load_state_dict(
        {long: torch.from_numpy(file.tensor(short, shape)) for short, long, shape in table},
        assign=True,
    )
    model.save_pretrained(folder)
    build_tokenizer(file).save_pretrained(folder)
