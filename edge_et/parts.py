"""Which of an artifact's parts to run, and on which device."""

from __future__ import annotations

from edge_et import ort, providers
from edge_et.config import RuntimeConfig
from edge_et.errors import BadManifest, DeviceUnavailable, MissingArtifact
from edge_et.manifest import ExtractorManifest, Part, PartRole

FP16_ACTIVATIONS = ("fp16", "q4f16")


def device_for(manifest: ExtractorManifest, runtime: RuntimeConfig) -> ort.UsedDevice:
    """Return the device for this artifact.

    CUDA has no fp32 kernel for the decoder's attention: onnxruntime would run those nodes on the
    CPU and copy the cache at each token. So CUDA needs a decoder with fp16 activations, and without
    one `auto` means the CPU.
    """
    listed = manifest.precisions("decoder")
    if runtime.decoder_precision is not None:
        listed = tuple(p for p in listed if p == runtime.decoder_precision)
    fits_cuda = any(p in FP16_ACTIVATIONS for p in listed)
    if runtime.device == "auto" and not fits_cuda:
        return "cpu"
    device = providers.resolve_device(runtime.device)
    if device == "cuda" and not fits_cuda:
        raise DeviceUnavailable(
            "this extractor has no decoder with fp16 activations, and CUDA runs no other",
            hint="run it on the CPU: --device cpu; or export it with --preset cuda",
        )
    return device


def pick(
    manifest: ExtractorManifest,
    role: PartRole,
    suffix: str,
    device: ort.UsedDevice,
    precision: str | None = None,
) -> Part:
    """Return the part of `role` to run: the one asked for, else the first that suits the device.

    fp16 activations are what CUDA is fast in and a CPU is slow in. Raises MissingArtifact when
    the precision asked for is not there.
    """
    parts = [p for p in manifest.parts if p.role == role and p.path.endswith(suffix)]
    if not parts:
        raise BadManifest(f"the manifest lists no {role} ({suffix})")
    if precision is not None:
        asked = [p for p in parts if p.precision == precision]
        if not asked:
            have = ", ".join(p.precision for p in parts)
            raise MissingArtifact(
                f"this extractor has no {role} in {precision}; it has {have}",
                hint="export it with that precision too, or ask for one that is there",
            )
        return asked[0]
    fitting = [p for p in parts if (p.precision in FP16_ACTIVATIONS) == (device == "cuda")]
    return (fitting or parts)[0]


def graph_parts(manifest: ExtractorManifest, runtime: RuntimeConfig) -> tuple[Part, Part]:
    """Return the vision encoder and the decoder that are loaded. Raises as `pick` does."""
    device = device_for(manifest, runtime)
    return (
        pick(manifest, "vision_encoder", ".onnx", device, runtime.vision_precision),
        pick(manifest, "decoder", ".onnx", device, runtime.decoder_precision),
    )
