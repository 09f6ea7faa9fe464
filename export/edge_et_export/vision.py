"""Vision tower and projector -> one ONNX graph, through optimum."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_et.errors import ExportError

if TYPE_CHECKING:
    from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

OPSET = 18
PRECISIONS = ("fp32", "int8")
_ATOL = 1e-3


def vision_module(model: LlavaOnevisionForConditionalGeneration) -> PreTrainedModel:
    """Return pixel_values [T, 3, S, S] -> image_features [T, N, H] as one module.

    Features are the hidden states of `vision_feature_layer`, before the tower's last norm.
    Source: transformers `LlavaOnevisionModel.get_image_features`.
    """
    from torch import Tensor
    from transformers import PreTrainedModel

    config = model.config
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    if not isinstance(layer, int) or strategy not in ("full", "default"):
        raise ExportError(f"vision_feature_layer {layer!r} with strategy {strategy!r} is unknown")

    class VisionEncoder(PreTrainedModel):  # type: ignore[misc]
        _supports_sdpa = True

        def __init__(self) -> None:
            super().__init__(config.vision_config)
            self.tower = model.model.vision_tower
            self.projector = model.model.multi_modal_projector

        def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
            hidden = self.tower(pixel_values, output_hidden_states=True).hidden_states[layer]
            if strategy == "default":  # the first position is a class token
                hidden = hidden[:, 1:]
            return {"image_features": self.projector(hidden)}

    return VisionEncoder().eval()


def export_vision(module: PreTrainedModel, out: Path, precision: str) -> list[Path]:
    """Write `vision_encoder_<precision>.onnx` into `out`; optimum validates the fp32 graph.

    Returns the graph, and the file of its weights where they lie outside (above 2 GB).
    """
    if precision not in PRECISIONS:
        raise ExportError(f"vision precision {precision!r} is none of {', '.join(PRECISIONS)}")
    path = out / f"vision_encoder_{precision}.onnx"
    if precision == "fp32":
        _trace(module, path)
    else:
        with tempfile.TemporaryDirectory(prefix="edge-et-vision-", dir=out) as scratch:
            float_path = Path(scratch) / "vision.onnx"
            _trace(module, float_path)
            _quantize(float_path, path)
    return sorted(out.glob(f"{path.name}*"))


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
        raise ExportError(f"the vision graph differs from the checkpoint: {exc}") from exc


def _quantize(source: Path, target: Path) -> None:
    """Weights to int8 per channel, activations dynamically; MatMul only, for the patch
    convolution is under 1 % of the work and loses most."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    # The mark that keeps the quantizer from advising a step that this graph needs not: it would
    # set up the root logger to say so.
    model = onnx.load(source, load_external_data=False)
    add_pre_process_metadata(model)
    onnx.save(model, source)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
