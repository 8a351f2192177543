"""Write tiny files in the shipped models' formats, and archives and commands that deliver them."""

import hashlib
import io
import struct
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import numpy as np

from layalign.embedded.registry import EmbeddedModel
from layalign.embedded.verify import Facts, Weights

HIDDEN, LAYERS, HEADS, INNER, ROWS, POSITIONS, TYPES = 32, 1, 2, 64, 16, 24, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581a", "\u2581b", "c", "\uff5e", "\u2581", "<mask>"]
SCORES = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, 0.0]
MEMBER = "miniature/weights.bin"


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Name every tensor of the miniature as the file does; two axes mean 4 bit where allowed."""
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (ROWS, HIDDEN),
        "emb.pos": (POSITIONS, HIDDEN),
        "emb.type": (TYPES, HIDDEN),
        "emb.ln.w": (HIDDEN,),
        "emb.ln.b": (HIDDEN,),
    }
    for i in range(LAYERS):
        for name in ("q", "k", "v", "ao"):
            shapes[f"l{i}.{name}.w"] = (HIDDEN, HIDDEN)
            shapes[f"l{i}.{name}.b"] = (HIDDEN,)
        for name in ("aln", "oln"):
            shapes[f"l{i}.{name}.w"] = shapes[f"l{i}.{name}.b"] = (HIDDEN,)
        shapes[f"l{i}.fi.w"], shapes[f"l{i}.fi.b"] = (INNER, HIDDEN), (INNER,)
        shapes[f"l{i}.fo.w"], shapes[f"l{i}.fo.b"] = (HIDDEN, INNER), (HIDDEN,)
    return shapes


def is_4bit(name: str) -> bool:
    return name == "emb.word" or (name.startswith("l") and name.endswith(".w") and "ln" not in name)


def values(name: str) -> np.ndarray:
    """Return the tensor's values, all of them exact in the format."""
    shape = tensor_shapes()[name]
    rng = np.random.default_rng(sum(name.encode()))
    if not is_4bit(name):
        return rng.normal(size=shape).astype("<f4")
    codes = rng.integers(-8, 8, size=(int(np.prod(shape)) // 32, 32))
    scales = 2.0 ** -rng.integers(3, 8, size=(len(codes), 1))
    return (codes * scales).astype("<f4").reshape(shape)


def pack_q4(array: np.ndarray) -> bytes:
    """Pack groups of 32 values one by one; the inverse of what the library does with arrays."""
    packed = b""
    for group in array.reshape(-1, 32).tolist():
        exponent = next(
            e for e in range(7, 2, -1) if all(-8 <= v * 2**e < 8 for v in group) or e == 3
        )
        codes = [round(v * 2**exponent) + 8 for v in group]
        packed += struct.pack("<e", 2.0**-exponent)
        packed += bytes(codes[j] | codes[j + 16] << 4 for j in range(16))
    return packed


def e5_bytes(
    *,
    magic: bytes = b"E5S1",
    version: int = 1,
    group: int = 32,
    heads: int = HEADS,
    specials: tuple[int, ...] = (0, 2, 1, 3),
    pieces: list[str] = PIECES,
    rename: dict[str, str] | None = None,
    shift: int = 0,
    kind: int | None = None,
) -> bytes:
    """Return a whole file; the arguments other than ``pieces`` damage it."""
    encoded = [piece.encode() for piece in pieces]
    starts = np.cumsum([0, *map(len, encoded)])
    head = struct.pack("<4sI", magic, version)
    head += struct.pack("<7i", HIDDEN, LAYERS, heads, INNER, ROWS, POSITIONS, TYPES)
    head += struct.pack("<fii4i", 1e-12, group, len(pieces), *specials)
    head += struct.pack("<Q", int(starts[-1])) + starts.astype("<u4").tobytes()
    head += np.array(SCORES[: len(pieces)], "<f4").tobytes() + b"".join(encoded)
    table = struct.pack("<IBI", 0x41, 1, 0x61)
    head += struct.pack("<iI", 1, len(table)) + table

    names = {name: (rename or {}).get(name, name) for name in tensor_shapes()}
    directory_bytes = 4 + sum(2 + len(new) + 21 for new in names.values())
    offset = -(-(len(head) + directory_bytes) // 64) * 64
    directory, body = struct.pack("<i", len(names)), b""
    for name, new in names.items():
        array = values(name)
        block = pack_q4(array) if is_4bit(name) else array.tobytes()
        real_kind = int(is_4bit(name)) if kind is None else kind
        directory += struct.pack("<H", len(new)) + new.encode()
        position = offset + len(body) + shift
        directory += struct.pack("<BIQQ", real_kind, array.size, position, len(block))
        body += block + b"\0" * (-len(block) % 64)
    head += directory
    return head.ljust(offset, b"\0") + body


def miniature(content: bytes | None = None, **changes: object) -> EmbeddedModel:
    """Return a registry entry for the miniature."""
    content = e5_bytes() if content is None else content
    fields: dict[str, object] = {
        "name": "miniature",
        "role": "encoder",
        "description": "a miniature",
        "licence": "MIT",
        "hub_id": "nobody/miniature",
        "package": "mini-ature",
        "version": "1.2",
        "member": MEMBER,
        "format": "e5",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "facts": facts(),
    }
    return EmbeddedModel(**(fields | changes))


def facts(**changes: object) -> Facts:
    """Return what is true of the converted miniature, except for the changes."""
    fields: dict[str, object] = {
        "config": {"model_type": "bert", "hidden_size": HIDDEN, "layer_norm_eps": 1e-12},
        "special_ids": {"bos_token_id": 0, "mask_token_id": 9},
        "token_ids": {"a bc": (0, 4, 5, 6, 2), "a\uff5e": (0, 4, 7, 2)},
        "round_trips": ("a bc",),
        "n_parameters": sum(int(np.prod(shape)) for shape in tensor_shapes().values()),
        "n_tensors": len(tensor_shapes()),
        "weights": (
            Weights(
                tensor="embeddings.word_embeddings.weight",
                row=5,
                values=tuple(values("emb.word")[5, :3].tolist()),
            ),
        ),
        "cosines": {("a", "a"): 1.0},
    }
    return Facts(**(fields | changes))


def write_wheel(folder: Path, content: bytes, member: str = MEMBER) -> Path:
    """Write the package's wheel; it also holds a member that points outside."""
    path = folder / "mini_ature-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("../../outside.txt", b"must not be written")
        wheel.writestr(member, content)
    return path


def write_sdist(folder: Path, content: bytes, member: str = MEMBER) -> Path:
    """Write the package's source archive; it also holds a link and a path that point outside."""
    path = folder / "mini_ature-1.2.tar.gz"
    with tarfile.open(path, "w:gz") as source:
        link = tarfile.TarInfo(f"elsewhere/{MEMBER}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        source.addfile(link)
        for name, data in (("../../outside.txt", b"no"), (f"mini_ature-1.2/{member}", content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            source.addfile(entry, io.BytesIO(data))
    return path


def fake_pip(folder: Path, body: str) -> tuple[str, ...]:
    """Return a command that runs ``body`` with ``dest``, ``arguments`` and ``fail`` at hand."""
    script = folder / "fake_pip.py"
    head = """
        import shutil, sys
        arguments = sys.argv[1:]
        dest = arguments[arguments.index("--dest") + 1]
        def fail(text):
            sys.exit(sys.stderr.write(text + "\\n") and 1)
    """
    script.write_text(textwrap.dedent(head) + textwrap.dedent(body), encoding="utf-8")
    return (sys.executable, "-S", "-E", str(script))


def delivering_pip(folder: Path, archive: Path) -> tuple[str, ...]:
    """Return a command that puts the archive into the folder it is told."""
    return fake_pip(folder, f"shutil.copy({str(archive)!r}, dest)")
