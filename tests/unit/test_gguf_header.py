"""GGUF headers: what they say, and every way in which a file can be bad."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from edge_et.errors import LoadFailed, MissingArtifact
from edge_et.gguf_header import BLOCKS, read_header, require_chat

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10
F16, Q8_0 = 1, 8


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def strings(*values: str) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


PAIRS = (
    pair("general.architecture", STRING, text("qwen3")),
    pair("qwen3.context_length", U32, struct.pack("<I", 4096)),
    pair("general.sampling.temp", F32, struct.pack("<f", 0.5)),
    pair("tokenizer.ggml.add_bos_token", BOOL, b"\x01"),
    pair("tokenizer.ggml.tokens", ARRAY, strings("a", "ä", "")),
    pair("tokenizer.ggml.token_type", ARRAY, struct.pack("<IQ3i", 5, 3, 1, 2, 3)),
    pair("tokenizer.chat_template", STRING, text("{{ messages }}")),
)
TENSORS = (tensor("token_embd.weight", (4, 3), F16, 0), tensor("w", (32, 2), Q8_0, 32))
DATA_BYTES = 32 + 2 * 34


def gguf(
    folder: Path,
    pairs: tuple[bytes, ...] = PAIRS,
    tensors: tuple[bytes, ...] = TENSORS,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data_bytes: int = DATA_BYTES,
) -> Path:
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, pair_count)
    head += b"".join(pairs) + b"".join(tensors)
    head += bytes(-len(head) % 32)
    path = folder / "m.gguf"
    path.write_bytes(head + bytes(data_bytes))
    return path


def test_a_header(tmp_path):
    header = read_header(gguf(tmp_path))
    assert (header.version, header.architecture, header.context_tokens) == (3, "qwen3", 4096)
    assert header.sampling == {"temperature": 0.5}
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert [(t.name, t.shape, t.type, t.offset) for t in header.tensors] == [
        ("token_embd.weight", (4, 3), F16, 0),
        ("w", (32, 2), Q8_0, 32),
    ]
    require_chat(header)


def test_no_file(tmp_path):
    with pytest.raises(MissingArtifact, match=r"no file .*m\.gguf"):
        read_header(tmp_path / "m.gguf")
    with pytest.raises(LoadFailed, match="cannot be read"):
        read_header(tmp_path)


@pytest.mark.parametrize("place", range(4))
def test_a_flipped_byte_of_the_magic(tmp_path, place):
    path = gguf(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(LoadFailed, match="is no GGUF file"):
        read_header(path)


@pytest.mark.parametrize("content", [b"", b"GG", b"\x80\x02}q\x00", b"PK\x03\x04"])
def test_another_file(tmp_path, content):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(LoadFailed, match="is no GGUF file"):
        read_header(path)


def test_a_pointer_instead_of_the_file(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(LoadFailed, match="Git LFS pointer"):
        read_header(path)


@pytest.mark.parametrize("version", [0, 1, 4, 3 << 24])
def test_an_unknown_version(tmp_path, version):
    with pytest.raises(LoadFailed, match=f"GGUF version {version}") as caught:
        read_header(gguf(tmp_path, version=version))
    assert ("byte order" in str(caught.value)) is (version in (0, 3 << 24))


def test_truncated_tensors(tmp_path):
    with pytest.raises(LoadFailed, match="is truncated: its tensors need"):
        read_header(gguf(tmp_path, data_bytes=DATA_BYTES - 1))


def test_a_header_cut_anywhere(tmp_path):
    """At every length the file is refused with an error of ours."""
    path = gguf(tmp_path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(LoadFailed):
            read_header(path)


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("pairs", "tensors", "counts"),
    [
        (PAIRS, TENSORS, (HUGE, len(PAIRS))),
        (PAIRS, TENSORS, (len(TENSORS), HUGE)),
        ((*PAIRS, pair("k", STRING, struct.pack("<Q", HUGE))), TENSORS, None),
        ((*PAIRS, pair("k", ARRAY, struct.pack("<IQ", STRING, HUGE))), TENSORS, None),
        ((*PAIRS, pair("k", ARRAY, struct.pack("<IQ", STRING, 1 << 23))), TENSORS, None),
        ((*PAIRS, pair("k", ARRAY, struct.pack("<IQ", U64, HUGE))), TENSORS, None),
        ((*PAIRS, pair("k", ARRAY, struct.pack("<IQQ", STRING, 2, HUGE))), TENSORS, None),
        ((*PAIRS, pair("k", ARRAY, struct.pack("<IQQ", STRING, 2, 4 * HUGE - 1))), TENSORS, None),
        ((struct.pack("<Q", HUGE),), (), (0, 1)),
        (PAIRS, (tensor("t", (HUGE, HUGE), F16, 0),), None),
        (PAIRS, (tensor("t", (1,), F16, HUGE),), None),
    ],
)
def test_absurd_counts_are_refused_without_allocating(tmp_path, pairs, tensors, counts):
    path = gguf(tmp_path, pairs, tensors, counts=counts)
    tracemalloc.start()
    try:
        with pytest.raises(LoadFailed):
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (pair("qwen3.context_length", U32, bytes(4)), "there twice"),
        (pair("", U32, bytes(4)), "is empty"),
        (pair("k", 13, b""), "type of a metadata value is 13"),
        (pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1)), "an array of 1 values of type 9"),
        (pair("general.alignment", U32, struct.pack("<I", 24)), "alignment is 24"),
    ],
)
def test_damaged_metadata(tmp_path, extra, message):
    with pytest.raises(LoadFailed, match=message):
        read_header(gguf(tmp_path, (*PAIRS, extra)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (tensor("t", (1, 1, 1, 1, 1), F16, 0), "5 dimensions"),
        (tensor("t", (33, 1), Q8_0, 0), "no multiple of 32"),
    ],
)
def test_damaged_tensors(tmp_path, bad, message):
    with pytest.raises(LoadFailed, match=message):
        read_header(gguf(tmp_path, tensors=(bad,)))


def test_a_type_of_a_newer_llama_cpp_is_left_to_it(tmp_path):
    assert read_header(gguf(tmp_path, tensors=(tensor("t", (7,), 99, 0),))).tensors[0].type == 99
    with pytest.raises(LoadFailed, match="truncated"):
        read_header(gguf(tmp_path, tensors=(tensor("t", (7,), 99, 4096),)))


def test_the_alignment_that_the_file_names(tmp_path):
    wide = (*PAIRS, pair("general.alignment", U32, struct.pack("<I", 4096)))
    with pytest.raises(LoadFailed, match="truncated"):
        read_header(gguf(tmp_path, wide))
    read_header(gguf(tmp_path, wide, data_bytes=4096 + DATA_BYTES))


def test_no_architecture(tmp_path):
    with pytest.raises(LoadFailed, match=r"names no general\.architecture"):
        read_header(gguf(tmp_path, PAIRS[1:]))


def test_no_chat_template(tmp_path):
    with pytest.raises(LoadFailed, match="carries no chat template"):
        require_chat(read_header(gguf(tmp_path, PAIRS[:-1])))


def test_a_projector_is_no_language_model(tmp_path):
    with_type = (*PAIRS, pair("general.type", STRING, text("mmproj")))
    with pytest.raises(LoadFailed, match="no language model, but its mmproj"):
        require_chat(read_header(gguf(tmp_path, with_type)))


def test_block_sizes_are_ggmls():
    gguf_package = pytest.importorskip("gguf")
    known = {int(kind): sizes for kind, sizes in gguf_package.GGML_QUANT_SIZES.items()}
    assert {kind: BLOCKS[kind] for kind in known} == known
