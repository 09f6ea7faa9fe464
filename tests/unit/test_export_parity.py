"""Each way in which an export can differ from its checkpoint is an error of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_et import errors
from edge_et.manifest import DecoderSpec, ImagePolicy
from edge_et.ort import Session
from edge_et_export.interface import check_decoder, check_vision
from edge_et_export.parity import compare, compare_first, gate

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=4096).astype(np.float32)
POLICY = ImagePolicy(name="single", tile_size_px=4, patch_size_px=2)
SPEC = DecoderSpec(
    layers=1, kv_heads=2, head_dim=4, hidden_size=8, vocab_size=16, context_tokens=64
)


@pytest.mark.parametrize(
    ("part", "kind", "code"),
    [
        ("vision_encoder", errors.VisionDrift, "vision_drift"),
        ("decoder", errors.DecoderDrift, "decoder_drift"),
        ("end_to_end", errors.EndToEndDrift, "end_to_end_drift"),
        ("reasoner", errors.ReasonerDrift, "reasoner_drift"),
    ],
)
def test_the_drift_of_each_part(part: str, kind: Any, code: str) -> None:
    precision = "q8_0" if part == "reasoner" else "int8"
    result = compare(part, precision, LOGITS * 1.5, LOGITS)
    with pytest.raises(kind, match=rf"{part} {precision}: relative error 0\.5000 over 0\.\d+, max"):
        gate([result], allow_drift=False)
    assert kind.code == code
    gate([result], allow_drift=True)


def test_one_wrong_logit_among_many_is_seen_by_the_first_token_alone() -> None:
    wrong = LOGITS.copy()
    wrong[int(LOGITS.argmin())] = LOGITS.max() + 1e-3
    result = compare_first("end_to_end", "int8", wrong, LOGITS)
    assert result.relative_error < result.tolerance
    assert result.top1 is False
    with pytest.raises(errors.FirstTokenMismatch, match=r"leads by [67]\.\d+ root mean squares"):
        gate([result], allow_drift=False)
    gate([result], allow_drift=True)


def test_a_reference_that_wavers_may_be_turned() -> None:
    second = int(np.argsort(LOGITS)[-2])
    close = LOGITS.copy()
    close[second] = LOGITS.max() - 0.01
    ours = close.copy()
    ours[second] += 0.02
    result = compare_first("end_to_end", "int8", ours, close)
    assert (result.top1, round(result.first_token_lead or 0, 3)) == (False, 0.01)
    gate([result], allow_drift=False)
    same = compare_first("end_to_end", "int8", close, close)
    assert (same.top1, same.first_token_lead) == (True, 0.0)


def test_greedy_tokens_in_full_precision() -> None:
    same = compare_first("end_to_end", "fp32", LOGITS, LOGITS)
    good = replace(same, greedy_agreement=1.0, greedy_tokens=64)
    gate([good], allow_drift=False)
    bad = replace(good, greedy_agreement=0.25)
    with pytest.raises(errors.GreedyDisagreement, match="25% of 64 greedy tokens"):
        gate([bad], allow_drift=False)
    rounded = compare_first("end_to_end", "int8", LOGITS, LOGITS)
    gate([replace(rounded, greedy_agreement=0.25, greedy_tokens=64)], allow_drift=False)
    behind_int8_eyes = replace(rounded, precision="fp32", greedy_agreement=0.25, greedy_tokens=64)
    gate([behind_int8_eyes], allow_drift=False)


def test_drift_is_named_before_the_tokens_that_it_turns() -> None:
    turned = compare_first("end_to_end", "fp32", -LOGITS, LOGITS)
    drifted = compare("decoder", "fp32", -LOGITS, LOGITS)
    with pytest.raises(errors.DecoderDrift) as caught:
        gate([drifted, replace(turned, greedy_agreement=0.0, greedy_tokens=64)], allow_drift=False)
    for words in ("decoder fp32", "end_to_end fp32", "another first token", "0% of 64 greedy"):
        assert words in caught.value.message


def test_every_code_is_its_own() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    codes = [k.code for k in kinds if issubclass(k, errors.EdgeETError)]
    assert len(set(codes)) == len(codes)


def graph(inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> Session:
    """Return what a session tells of itself; that real graphs tell it is held by test_verify."""
    shapes = [{n: tuple(s) for n, s in named.items()} for named in (inputs, outputs)]
    told = SimpleNamespace(path=Path("g.onnx"), input_shapes=shapes[0], output_shapes=shapes[1])
    return cast(Session, told)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"pixel_values": ["t", 3, 4, 4]}, {"image_features": ["t", 4, 8]}, None),
        ({"pixels": ["t", 3, 4, 4]}, {"image_features": ["t", 4, 8]}, "no 'pixel_values'"),
        ({"pixel_values": [1, 3, 4, 4]}, {"image_features": ["t", 4, 8]}, r"\[1, 3, 4, 4\], not"),
        ({"pixel_values": ["t", 3, 4]}, {"image_features": ["t", 4, 8]}, r"\[t, 3, 4\], not"),
        ({"pixel_values": ["t", 3, 4, 4]}, {"image_features": ["t", 4, 9]}, r"\[t, 4, 9\], not"),
    ],
)
def test_names_and_axes_of_a_vision_graph(inputs: Any, outputs: Any, message: str | None) -> None:
    session = graph(inputs, outputs)
    if message is None:
        check_vision(session, POLICY, SPEC)
        return
    with pytest.raises(errors.InterfaceMismatch, match=message) as caught:
        check_vision(session, POLICY, SPEC)
    assert caught.value.code == "interface_mismatch"


CACHE = ["b", 2, "p", 4]
INPUTS: dict[str, list[Any]] = {
    "inputs_embeds": ["b", "s", 8],
    "attention_mask": ["b", "total"],
    "past_key_values.0.key": CACHE,
    "past_key_values.0.value": CACHE,
}
OUTPUTS: dict[str, list[Any]] = {
    "logits": ["b", 1, 16],
    "present.0.key": CACHE,
    "present.0.value": CACHE,
}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({}, {}, None),
        ({"inputs_embeds": ["b", 7, 8]}, {}, r"inputs_embeds of \[b, 7, 8\], not of \[any, any, 8"),
        ({"past_key_values.0.key": ["b", 1, "p", 4]}, {}, r"past_key_values.0.key of \[b, 1, p, 4"),
        ({"position_ids": ["b", "s"]}, {}, "takes 'position_ids', which is not of its role"),
        ({}, {"logits": ["b", "s", 17]}, r"gives logits of \[b, s, 17\], not of \[any, 1, 16\]"),
        ({}, {"present.1.key": CACHE}, "gives 'present.1.key', which is not of its role"),
    ],
)
def test_names_and_axes_of_a_decoder(inputs: Any, outputs: Any, message: str | None) -> None:
    session = graph(INPUTS | inputs, OUTPUTS | outputs)
    if message is None:
        check_decoder(session, SPEC)
        return
    with pytest.raises(errors.InterfaceMismatch, match=message):
        check_decoder(session, SPEC)
