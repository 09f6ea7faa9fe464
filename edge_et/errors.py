"""The error tree. Every error says what happened, where, and the command that mends it.

    EdgeETError
    ├── InputError           the caller's image, text or budget
    │   └── ImageError
    ├── ArtifactError        files of a model
    │   ├── MissingArtifact
    │   ├── BadManifest
    │   ├── ChecksumMismatch
    │   ├── UnknownModel
    │   └── DownloadFailed   the source did not give it; what came is kept to go on from
    │       ├── Unreachable      no connection, or it broke off
    │       ├── AccessDenied     private or gated
    │       └── InsufficientDisk
    ├── BackendError         onnxruntime, llama.cpp and the devices below them
    │   ├── MissingDependency
    │   ├── DeviceUnavailable
    │   ├── LoadFailed
    │   └── InferenceFailed
    ├── ContextOverflow      the prompt does not fit
    ├── MemoryImpossible     no plan keeps to the budget of memory
    ├── ExportError          a checkpoint that cannot be exported as it is
    │   ├── OutOfDisk        no room for what is to be written, or none left on the way
    │   ├── OutOfMemory      no room for the checkpoint and what is made of it
    │   └── ParityError      an exported part that differs from its reference
    │       ├── VisionDrift, DecoderDrift, EndToEndDrift, ReasonerDrift   by more than tolerated
    │       ├── FirstTokenMismatch     another first token, where the reference does not waver
    │       ├── GreedyDisagreement     other greedy tokens, in full precision
    │       ├── InterfaceMismatch      names, axes or shapes of a graph, or values that are none
    │       └── TokenizerMismatch      a text becomes other tokens
    └── Cancelled            the caller stopped the chain

`code` is stable and meant for programs; `exit_code` is what the command line returns.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeETError(Exception):
    """What happened and where (`message`), and the command or act that mends it (`hint`)."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class InputError(EdgeETError):
    code = "bad_input"
    exit_code = 3


class ImageError(InputError):
    code = "bad_image"


class ArtifactError(EdgeETError):
    code = "bad_artifact"
    exit_code = 4


class MissingArtifact(ArtifactError):
    code = "missing_artifact"


class BadManifest(ArtifactError):
    code = "bad_manifest"


class ChecksumMismatch(ArtifactError):
    code = "checksum_mismatch"


class UnknownModel(ArtifactError):
    code = "unknown_model"


class DownloadFailed(ArtifactError):
    code = "download_failed"


class Unreachable(DownloadFailed):
    code = "unreachable"


class AccessDenied(DownloadFailed):
    code = "access_denied"


class InsufficientDisk(DownloadFailed):
    code = "insufficient_disk"


class BackendError(EdgeETError):
    code = "backend_error"


class MissingDependency(BackendError):
    code = "missing_dependency"
    exit_code = 2


class DeviceUnavailable(BackendError):
    code = "device_unavailable"
    exit_code = 5


class LoadFailed(BackendError):
    code = "load_failed"
    exit_code = 4


class InferenceFailed(BackendError):
    code = "inference_failed"


class ContextOverflow(EdgeETError):
    code = "context_overflow"
    exit_code = 3


class MemoryImpossible(EdgeETError):
    code = "memory_impossible"
    exit_code = 6


class ExportError(EdgeETError):
    code = "export_failed"


class OutOfDisk(ExportError):
    code = "out_of_disk"


class OutOfMemory(ExportError):
    code = "out_of_memory"
    exit_code = 6


class ParityError(ExportError):
    code = "parity_failed"


class VisionDrift(ParityError):
    code = "vision_drift"


class DecoderDrift(ParityError):
    code = "decoder_drift"


class EndToEndDrift(ParityError):
    code = "end_to_end_drift"


class ReasonerDrift(ParityError):
    code = "reasoner_drift"


class FirstTokenMismatch(ParityError):
    code = "first_token_mismatch"


class GreedyDisagreement(ParityError):
    code = "greedy_disagreement"


class InterfaceMismatch(ParityError):
    code = "interface_mismatch"


class TokenizerMismatch(ParityError):
    code = "tokenizer_mismatch"


class Cancelled(EdgeETError):
    code = "cancelled"
    exit_code = 130
