import numpy as np
import pytest
import torch

from layalign.embedded.gguf import convert, require_packages
from layalign.errors import BackboneError, DownloadError

VOCABULARY = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abc 123", "\u0120", "ab", "\u0120a"]
MERGES = ["a b", "\u0120 a"]


@pytest.fixture
def tiny_gguf(tmp_path):
    """Write a one-layer Llama with grouped key and value heads."""
    gguf = pytest.importorskip("gguf", reason="gguf is not installed (extra: quickstart)")
    hidden, inner, heads, kv_heads = 32, 64, 4, 2
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([3, 3, 3] + [1] * (len(VOCABULARY) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    shapes = {
        "token_embd.weight": (len(VOCABULARY), hidden),
        "output_norm.weight": (hidden,),
        "blk.0.attn_norm.weight": (hidden,),
        "blk.0.ffn_norm.weight": (hidden,),
        "blk.0.attn_q.weight": (hidden, hidden),
        "blk.0.attn_k.weight": (hidden // heads * kv_heads, hidden),
        "blk.0.attn_v.weight": (hidden // heads * kv_heads, hidden),
        "blk.0.attn_output.weight": (hidden, hidden),
        "blk.0.ffn_gate.weight": (inner, hidden),
        "blk.0.ffn_up.weight": (inner, hidden),
        "blk.0.ffn_down.weight": (hidden, inner),
    }
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, tensors


def test_the_folder_is_an_ordinary_dense_model(tmp_path, tiny_gguf):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, tensors = tiny_gguf
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(path, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not hasattr(model.config, "quantization_config")
    assert model.dtype == torch.float32
    state = model.state_dict()
    for theirs, ours in {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
    }.items():
        torch.testing.assert_close(state[theirs], torch.from_numpy(tensors[ours]), rtol=0, atol=0)
    # Rows of a head are interleaved in the file: first half on even rows, second on odd ones.
    query = torch.from_numpy(tensors["blk.0.attn_q.weight"]).unflatten(0, (4, 4, 2))
    expected = query.transpose(1, 2).flatten(0, 2)
    torch.testing.assert_close(
        state["model.layers.0.self_attn.q_proj.weight"], expected, rtol=0, atol=0
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 64
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer.decode(tokenizer("ab a1")["input_ids"]) == "ab a1"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x01\0\0\0", b"E5S1\x03\0\0\0"])
def test_a_file_of_another_kind_is_an_error(tmp_path, content):
    path = tmp_path / "weights.gguf"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="expected magic b'GGUF' and version 3"):
        convert(path, tmp_path)


def test_missing_packages_are_named_with_the_extra():
    with pytest.raises(BackboneError, match=r'but gguf cannot .*pip install "layalign\[quickst'):
        require_packages(find=lambda name: None if name == "gguf" else name)
    require_packages(find=lambda name: name)
