"""Checkpoints -> artifacts: extractors to ONNX, reasoners to GGUF, each compared with its source.

Importing this loads neither torch nor transformers; calling the functions does.
"""

from edge_et_export.extractor import ExtractorOptions, export_extractor
from edge_et_export.progress import Progress
from edge_et_export.reasoner import ReasonerOptions, export_reasoner

__all__ = ["ExtractorOptions", "Progress", "ReasonerOptions", "export_extractor", "export_reasoner"]
