"""The artifact contract: what `edge-et export` writes and the runtime reads, as `edge_et.json`.

The reader lives here because the runtime is the side that must not break. Unknown schema versions,
unknown policies and missing fields are refused with the field's name; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from edge_et.errors import BadManifest, ChecksumMismatch, MissingArtifact
from edge_et.plain import Mismatch, build

SCHEMA = 1
FILE_NAME = "edge_et.json"

PartRole = Literal[
    "vision_encoder", "decoder", "embed_tokens", "image_newline", "tokenizer", "config",
    "reference", "reasoner",
]  # fmt: skip
ImagePolicyName = Literal["anyres", "single", "split"]
TemplateName = Literal["qwen_1_5", "smolvlm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of the artifact. `path` is relative to the folder of the manifest, with `/`."""

    role: PartRole
    path: str
    precision: str
    """fp32, fp16, int8, q4 …; for GGUF llama.cpp's name in lower case; "none" for text files."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """How an image becomes tiles. Sizes are height, width.

    `anyres`: the whole image squashed to one tile, then the tiles of the best grid, features
    unpadded, shrunk past `max_tiles`, `image_newline` after each row (LLaVA-OneVision).
    `single`: the image padded to a square of `pad_rgb` and resized to one tile, one
    `image_newline` after its features (LLaVA-OneVision's multi-image rule).
    `split`: the image resized to `longest_edge_px`, stretched to whole tiles, cut row by row, the
    whole of it squashed to one tile last (Idefics3, SmolVLM); marks of text name each tile.
    """

    name: ImagePolicyName
    tile_size_px: int
    patch_size_px: int
    grid_pinpoints_px: tuple[tuple[int, int], ...] = ()
    """Height, width of each canvas that `anyres` may choose; multiples of `tile_size_px`."""
    max_tiles: int | None = 9
    """The N of anyres_max_N: a limit on image tokens (N x patches), not on crops; None: none."""
    unpad: Literal["rounded", "truncated"] = "rounded"
    """How `anyres` counts the rows and columns of features that are not padding: transformers
    rounds to 7 digits before it cuts to an integer, LLaVA-NeXT's own code just cuts."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    pad_rgb: tuple[int, int, int] = (127, 127, 127)
    """Fill of the `single` square. `anyres` pads its canvas with black, as the reference does."""
    resample: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    longest_edge_px: int | None = None
    """Of `split`: the longer side of the image before it is stretched to whole tiles."""
    pixel_shuffle: int = 1
    """Patches a side that the projector packs into one image token."""
    default_max_tiles: int | None = None
    """Budget of tiles on a CPU when a call sets none; None: no limit."""

    @property
    def patches_per_side(self) -> int:
        return self.tile_size_px // self.patch_size_px

    @property
    def tokens_per_tile(self) -> int:
        return (self.patches_per_side // self.pixel_shuffle) ** 2

    def __post_init__(self) -> None:
        if self.name not in get_args(ImagePolicyName):
            known = ", ".join(get_args(ImagePolicyName))
            raise BadManifest(f"unknown image policy {self.name!r}; known are {known}")
        if self.tile_size_px < 1 or self.patch_size_px < 1:
            raise BadManifest("tile_size_px and patch_size_px must be positive")
        if self.pixel_shuffle < 1 or self.patches_per_side % self.pixel_shuffle:
            raise BadManifest(
                f"pixel_shuffle {self.pixel_shuffle} does not divide the "
                f"{self.patches_per_side} patches of a side"
            )
        if self.default_max_tiles is not None and self.default_max_tiles < 1:
            raise BadManifest("default_max_tiles must be positive")
        if (self.name == "split") != (self.longest_edge_px is not None):
            raise BadManifest("longest_edge_px belongs to the image policy split, and it needs one")
        if self.longest_edge_px is not None and self.longest_edge_px < 1:
            raise BadManifest("longest_edge_px must be positive")
        if self.name == "anyres" and not self.grid_pinpoints_px:
            raise BadManifest("the image policy anyres needs grid_pinpoints_px")
        for height, width in self.grid_pinpoints_px:
            if height % self.tile_size_px or width % self.tile_size_px:
                raise BadManifest(
                    f"grid pinpoint {height} x {width} is no multiple of {self.tile_size_px} px"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """Shapes of the extractor's language model; the KV cache is sized from these."""

    layers: int
    kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    context_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """A part (or the whole, role "end_to_end") against the reference implementation."""

    part: str
    precision: str
    max_abs_error: float
    relative_error: float
    """||ours - reference|| / ||reference||."""
    cosine: float
    tolerance: float
    """On `relative_error`; a part above it fails the export."""
    top1: bool | None = None
    """Whether the likeliest first token is the reference's; for whole models only."""
    first_token_lead: float | None = None
    """By how much the reference prefers its first token to ours, in root mean squares of its
    logits; 0 where they are the same; for whole models only."""
    greedy_agreement: float | None = None
    """Share of greedy tokens before the first unlike the reference's; for whole models only."""
    greedy_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the checkpoint came from."""

    name: str
    revision: str
    """A commit for a Hub repo; the sha256 of the weight file(s) for a local folder."""
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorManifest:
    family: str
    source: Source
    parts: tuple[Part, ...]
    image: ImagePolicy
    decoder: DecoderSpec
    template: TemplateName
    """Chat layout; see `prompts.extractor_chat`."""
    image_token_id: int
    stop_token_ids: tuple[int, ...]
    block_size: int | None = None
    """Weights that share a scale in int8 and q4 decoders."""
    parity: tuple[Parity, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries that made the artifact; `vision_tower`: the checkpoint of a tower
    whose weights are not in `source`, NAME@REVISION."""
    kind: Literal["extractor"] = "extractor"
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if (self.template == "smolvlm") != (self.image.name == "split"):
            raise BadManifest(
                f"the template {self.template} does not fit the image policy {self.image.name}"
            )

    def part(self, role: PartRole, precision: str | None = None) -> Part:
        """Return the part of `role`; the first one listed when no precision is asked for."""
        return _find(self.parts, role, precision)

    def precisions(self, role: PartRole) -> tuple[str, ...]:
        """List the precisions that lie side by side, the preferred one first."""
        return tuple(dict.fromkeys(p.precision for p in self.parts if p.role == role))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonerManifest:
    family: str
    source: Source
    parts: tuple[Part, ...]
    context_tokens: int
    sampling: dict[str, float] = field(default_factory=dict)
    """The model's own defaults: temperature, top_p, top_k; empty means greedy."""
    says_missing: bool = False
    """Trained to answer with `Missing:` and what is missing where the description lacks it; other
    reasoners are told to by the prompt."""
    parity: tuple[Parity, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)
    kind: Literal["reasoner"] = "reasoner"
    schema: int = SCHEMA

    def part(self, role: PartRole = "reasoner", precision: str | None = None) -> Part:
        return _find(self.parts, role, precision)


Manifest = ExtractorManifest | ReasonerManifest
ManifestT = TypeVar("ManifestT", ExtractorManifest, ReasonerManifest)


def read_manifest(folder: Path, kind: type[ManifestT]) -> ManifestT:
    """Read and validate `folder/edge_et.json`.

    Raises MissingArtifact (with the command that makes one) or BadManifest (naming the field).
    """
    path = folder / FILE_NAME
    wanted = "extractor" if kind is ExtractorManifest else "reasoner"
    raw = _read_raw(folder, wanted)
    if raw.get("kind") != wanted:
        raise BadManifest(f"{path} describes a {raw.get('kind')!r}, not a {wanted}")
    try:
        return build(kind, raw, str(path))
    except Mismatch as exc:
        raise BadManifest(str(exc)) from exc


def kind_of(folder: Path) -> str:
    """Return what the manifest in `folder` says it describes: extractor or reasoner.

    Raises MissingArtifact or BadManifest.
    """
    kind = _read_raw(folder, "extractor").get("kind")
    if kind not in ("extractor", "reasoner"):
        raise BadManifest(f"{folder / FILE_NAME} describes a {kind!r}")
    return str(kind)


def _read_raw(folder: Path, wanted: str) -> dict[str, Any]:
    path = folder / FILE_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise MissingArtifact(
            f"{folder} holds no {FILE_NAME}, so it is no exported {wanted}",
            hint=f"make one: edge-et export {wanted} CHECKPOINT_DIR --out {folder}",
        ) from exc
    except (OSError, ValueError) as exc:
        raise BadManifest(f"{path} cannot be read: {exc}") from exc
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else None
        raise BadManifest(
            f"{path} has schema {found!r}; this edge-et reads schema {SCHEMA}",
            hint="export the model again with this version",
        )
    return raw


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write `folder/edge_et.json` beside and rename, so that no reader sees half of it."""
    path = folder / FILE_NAME
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
    return path


def describe_part(folder: Path, path: Path, *, role: PartRole, precision: str) -> Part:
    """Hash a file that lies under `folder` into its manifest entry."""
    return Part(
        role=role,
        path=path.relative_to(folder).as_posix(),
        precision=precision,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
    )


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, manifest: Manifest, *, hashes: bool) -> None:
    """Raise MissingArtifact or ChecksumMismatch unless every part lies there whole.

    Sizes are always compared; `hashes` reads each file once.
    """
    for part in manifest.parts:
        path = folder / part.path
        if not path.is_file():
            raise MissingArtifact(f"{path} is missing from the {manifest.kind}")
        size_bytes = path.stat().st_size
        if size_bytes != part.size_bytes or (hashes and file_sha256(path) != part.sha256):
            raise ChecksumMismatch(
                f"{path} is not the file that was exported ({size_bytes} bytes, "
                f"{part.size_bytes} in the manifest)",
                hint="restore that file, or export the model again",
            )


def _find(parts: tuple[Part, ...], role: PartRole, precision: str | None) -> Part:
    found = [p for p in parts if p.role == role and precision in (None, p.precision)]
    if not found:
        have = ", ".join(sorted(f"{p.role} {p.precision}" for p in parts))
        wanted = role if precision is None else f"{role} in {precision}"
        raise MissingArtifact(f"the artifact has no {wanted}; it has {have}")
    return found[0]


__all__ = [
    "FILE_NAME", "SCHEMA", "DecoderSpec", "ExtractorManifest", "ImagePolicy", "Manifest",
    "Parity", "Part", "ReasonerManifest", "Source", "check_files", "describe_part",
    "file_sha256", "kind_of", "read_manifest", "write_manifest",
]  # fmt: skip
