"""Vision tower and projector -> one ONNX graph a precision, through optimum."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import VisionDrift
from edge_et_export.fused_attention import one_node

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPSET = 18
_ATOL = 1e-3
_CONTRIB = "com.microsoft"


def export_vision(
    module: PreTrainedModel, out: Path, precisions: tuple[str, ...]
) -> dict[str, list[Path]]:
    """Write `vision_encoder_<precision>.onnx` into `out` for each; return their files.

    They are made of a graph traced in fp32 and validated by optimum; fp16 of one without fused
    attention, which onnxruntime has in fp16 on GPUs only. Weights above 2 GB lie in a file beside
    the graph.
    """
    made = {}
    fused = [precision for precision in precisions if precision != "fp16"]
    plain = [precision for precision in precisions if precision == "fp16"]
    for group, attention in ((fused, one_node(module)), (plain, contextlib.nullcontext())):
        if not group:
            continue
        with tempfile.TemporaryDirectory(prefix="edge-et-vision-", dir=out) as scratch:
            traced = Path(scratch) / "vision.onnx"
            with attention:
                _trace(module, traced)
            for precision in group:
                path = out / f"vision_encoder_{precision}.onnx"
                _WRITERS[precision](traced, path)
                made[precision] = sorted(out.glob(f"{path.name}*"))
    return {precision: made[precision] for precision in precisions}


def _trace(module: PreTrainedModel, path: Path) -> None:
    from optimum.exporters.onnx import export, validate_model_outputs
    from optimum.exporters.onnx.config import VisionOnnxConfig
    from optimum.utils import NormalizedVisionConfig

    class VisionEncoderOnnxConfig(VisionOnnxConfig):  # type: ignore[misc]
        NORMALIZED_CONFIG_CLASS = NormalizedVisionConfig
        DEFAULT_ONNX_OPSET = OPSET
        ATOL_FOR_VALIDATION = _ATOL

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            return {"pixel_values": {0: "tiles"}}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {"image_features": {0: "tiles"}}

    config: Any = VisionEncoderOnnxConfig(module.config, task="feature-extraction")
    _, outputs = export(module, config, path, opset=OPSET)
    try:
        # in this process: a spawned one would import the caller's main module again
        validate_model_outputs(config, module, path, outputs, use_subprocess=False)
    except (ValueError, AssertionError) as exc:
        raise VisionDrift(f"the vision graph differs from the checkpoint: {exc}") from exc


def _keep(source: Path, target: Path) -> None:
    """fp32: the traced graph itself."""
    import onnx

    if source.with_name(source.name + "_data").exists():
        # the graph names its data file, so both are written anew
        onnx.save(
            onnx.load(source),
            target,
            save_as_external_data=True,
            location=target.name + "_data",
        )
    else:
        shutil.copyfile(source, target)


def _halve(source: Path, target: Path) -> None:
    """fp16: weights, activations, input and output."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(source), keep_io_types=False)
    onnx.save(model, target)


def _quantize(source: Path, target: Path) -> None:
    """int8: weights per channel, activations dynamically; MatMul only, for the patch convolution
    is under 1 % of the work and loses most."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(source, load_external_data=False)
    # The mark that keeps the quantizer from advising a step that this graph needs not: it would
    # set up the root logger to say so.
    add_pre_process_metadata(model)
    onnx.save(model, source)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    # afterwards: the quantizer infers types, and knows none of the fused node's
    onnx.save(_with_fast_gelu(onnx.load(target)), target)


def _with_fast_gelu(model: Any) -> Any:
    """Return the graph with one node for each tanh GELU, nine as it is traced.

    Beside int8 products these take a fifth of the time. onnxruntime has the fusion, and applies it
    by itself on GPUs only.
    """
    from onnx import helper
    from onnxruntime.transformers.fusion_fastgelu import FusionFastGelu
    from onnxruntime.transformers.onnx_model import OnnxModel

    graph = OnnxModel(model)
    FusionFastGelu(graph).apply()
    graph.prune_graph()
    if not any(known.domain == _CONTRIB for known in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    return graph.model


_WRITERS = {"fp32": _keep, "fp16": _halve, "int8": _quantize}
