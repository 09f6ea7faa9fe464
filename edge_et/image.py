"""Files, bytes, PIL images and arrays -> one upright RGB image, with a note of what was done.

Nothing is guessed silently: each conversion leaves a note, and what cannot be read is refused with
the name of the source.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edge_et.errors import ImageError

_T = TypeVar("_T")
ImageInput = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]

MAX_PIXELS = 178_956_970
"""Pillow's own hard limit (twice its bomb warning): 0.5 GB as RGB. Checked before decoding."""
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_MODE_NOTES = {"1": "1-bit to RGB", "L": "gray to RGB", "P": "palette to RGB"}
_WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    rgb: Image.Image
    """Mode RGB, orientation applied."""
    original_height_px: int
    """As stored, before orientation."""
    original_width_px: int
    notes: tuple[str, ...] = ()
    """Each conversion applied, in order, e.g. `16-bit to 8-bit`, `exif orientation 6`."""


def load_image(source: ImageInput) -> LoadedImage:
    """Return `source` as an upright RGB image.

    `source` is a path, the bytes of an image file, a PIL image, or an array [H, W], [H, W, 1],
    [H, W, 3] or [H, W, 4] of uint8, uint16, bool, floats in [0, 1] or numbers in [0, 255].
    Transparency is laid over white. Of an animation the first frame is taken.

    Raises ImageError.
    """
    if isinstance(source, np.ndarray):
        image, notes = _from_array(source)
        return _finish(image, "the array", notes)
    if isinstance(source, Image.Image):
        return _finish(source, "the PIL image", [])
    if isinstance(source, bytes | bytearray | memoryview):
        return _open(io.BytesIO(source), "the image bytes")
    return _open_path(Path(source), str(os.fspath(source)), _open)


def image_px(source: Path | bytes) -> int:
    """Return height x width of an image file by its header; nothing is decoded.

    Raises ImageError.
    """
    if isinstance(source, bytes):
        return _px(io.BytesIO(source), "the image bytes")
    return _open_path(source, str(source), _px)


def _open_path(path: Path, name: str, use: Callable[[Any, str], _T]) -> _T:
    if "://" in name:
        raise ImageError(
            f"{name} is an address, and nothing is fetched over the network",
            hint="download it and give the file",
        )
    try:
        with path.open("rb") as file:
            return use(file, name)
    except FileNotFoundError as exc:
        raise ImageError(f"there is no file {name}") from exc
    except IsADirectoryError as exc:
        raise ImageError(f"{name} is a folder, not an image file") from exc
    except (OSError, ValueError) as exc:
        raise ImageError(f"{name} cannot be opened: {exc}") from exc


def _open(file: Any, name: str) -> LoadedImage:
    with _own_limits():
        return _finish(_identified(file, name), name, [])


def _px(file: Any, name: str) -> int:
    with _own_limits():
        image = _identified(file, name)
    _check_size(image, name)
    return image.width * image.height


@contextlib.contextmanager
def _own_limits() -> Iterator[None]:
    """Pillow warns from 89 Mpx on and about damaged metadata; our own limit and notes decide."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _identified(file: Any, name: str) -> Image.Image:
    """Read the header."""
    head = file.read(12)
    file.seek(0)
    if not head:
        raise ImageError(f"{name} is empty")
    try:
        return Image.open(file)
    except Image.DecompressionBombError as exc:
        raise _too_large(name, None) from exc
    except UnidentifiedImageError as exc:
        raise _not_an_image(name, head) from exc
    except Exception as exc:  # a damaged header fails in many ways
        raise ImageError(f"{name} cannot be read as an image: {exc}") from exc


def _finish(image: Image.Image, name: str, notes: list[str]) -> LoadedImage:
    """Decode, convert to RGB, turn upright."""
    _check_size(image, name)
    notes += _frame_note(image)
    height, width = image.height, image.width
    try:
        image.load()
    except Image.DecompressionBombError as exc:
        raise _too_large(name, None) from exc
    except Exception as exc:  # Pillow's decoders raise OSError, SyntaxError, struct.error …
        raise ImageError(
            f"{name} is damaged or incomplete: {exc}", hint="open it in a viewer and save it again"
        ) from exc
    orientation = _orientation(image)
    rgb = _to_rgb(image, name, notes)
    if orientation in _ORIENTATIONS:
        rgb = rgb.transpose(_ORIENTATIONS[orientation])
        notes.append(f"exif orientation {orientation}")
    return LoadedImage(
        rgb=rgb, original_height_px=height, original_width_px=width, notes=tuple(notes)
    )


def _check_size(image: Image.Image, name: str) -> None:
    if image.width < 1 or image.height < 1:
        raise ImageError(f"{name} is {image.height} x {image.width} px: it has no pixels")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name, image)


def _frame_note(image: Image.Image) -> list[str]:
    """Note the frames that are left out. MPO (phones' JPEG) carries depth maps, no animation."""
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:
        return []  # the first frame decides whether the file is damaged
    return [f"first of {frames} frames"] if frames > 1 and image.format != "MPO" else []


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 when there is none or the EXIF block is damaged.

    Read after decoding: Pillow turns TIFF by itself and then drops the tag.
    """
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        gray = _eight_bit(np.asarray(image), name, notes, declared_16_bit=image.mode != "I")
        return Image.fromarray(gray).convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        notes.append("alpha over white")
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (*_WHITE, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    notes.append(_MODE_NOTES.get(image.mode, f"{image.mode} to RGB"))
    try:
        return image.convert("RGB")
    except ValueError as exc:
        raise ImageError(f"{name} has pixels of mode {image.mode}, which is not supported") from exc


def _from_array(array: npt.NDArray[Any]) -> tuple[Image.Image, list[str]]:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise ImageError(
            f"an array of shape {array.shape} is no image; wanted are [H, W] and [H, W, 1|3|4]",
            hint="channels come last: array.transpose(1, 2, 0)" if first else None,
        )
    if 0 in array.shape:
        raise ImageError(f"the array of shape {array.shape} has no pixels")
    notes: list[str] = []
    wide = array.dtype == np.uint16
    pixels = _eight_bit(array, "the array", notes, declared_16_bit=wide)
    return Image.fromarray(pixels[:, :, 0] if array.ndim == 3 and channels == 1 else pixels), notes


def _eight_bit(
    values: npt.NDArray[Any], name: str, notes: list[str], *, declared_16_bit: bool
) -> npt.NDArray[np.uint8]:
    """Scale numbers of any type to 0..255 and note how.

    16-bit values map 65535 to 255. Types that do not tell their range are judged by their values:
    floats up to 1 are shares, anything up to 255 is taken as it is, integers up to 65535 are
    16-bit; beyond that the values are stretched between their smallest and largest.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise ImageError(f"{name} holds {values.dtype}, not numbers of pixels")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ImageError(f"{name} holds values that are not finite")
    low, high = float(numbers.min()), float(numbers.max())
    is_float = values.dtype.kind == "f"
    is_16_bit = not is_float and (declared_16_bit or (low >= 0 and 255 < high <= 65535))
    if is_float and low >= 0 and high <= 1:
        notes.append("floats in [0, 1] to 8-bit")
        numbers *= 255
    elif is_16_bit:
        notes.append("16-bit to 8-bit")
        numbers /= 257
    elif low < 0 or high > 255:
        notes.append(f"{low:g} to {high:g} stretched to 8-bit")
        numbers = (numbers - low) * (255 / (high - low))
    return np.rint(numbers).astype(np.uint8)


def _too_large(name: str, image: Image.Image | None) -> ImageError:
    size = f" ({image.height} x {image.width} px)" if image else ""
    return ImageError(
        f"{name} is too large{size}: at most {MAX_PIXELS / 1e6:.0f} megapixels are decoded",
        hint="scale it down first; the model sees far fewer pixels",
    )


def _not_an_image(name: str, head: bytes) -> ImageError:
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return ImageError(
            f"{name} is a HEIC/HEIF image, which cannot be read",
            hint="convert it to JPEG; iPhones write JPEG under Settings > Camera > Formats",
        )
    return ImageError(f"{name} is not an image of a known format")
