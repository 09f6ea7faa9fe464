"""Every way an image comes in, and every way it is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_et.errors import ImageError
from edge_et.image import MAX_PIXELS, image_px, load_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """2 rows x 3 columns with a different colour in each corner."""
    image = Image.new("RGB", (3, 2), (9, 9, 9))
    for xy, colour in {(0, 0): RED, (2, 0): GREEN, (0, 1): BLUE, (2, 1): WHITE}.items():
        image.putpixel(xy, colour)
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(source: object) -> np.ndarray:
    return np.asarray(load_image(source).rgb)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["path", "str", "bytes", "pil", "array"])
def test_every_kind_of_source_gives_the_same_pixels(source: str, tmp_path: Path) -> None:
    image = corners()
    path = tmp_path / "corners.png"
    image.save(path)
    sources = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "pil": image,
        "array": np.asarray(image),
    }
    loaded = load_image(sources[source])
    assert loaded.rgb.mode == "RGB"
    assert (loaded.original_height_px, loaded.original_width_px) == (2, 3)
    assert loaded.notes == ()
    np.testing.assert_array_equal(np.asarray(loaded.rgb), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    """Stored such that a viewer that honours the tag shows `corners`."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = corners() if undo is None else corners().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encoded(stored, exif=exif.tobytes()))
    np.testing.assert_array_equal(np.asarray(loaded.rgb), np.asarray(corners()))
    assert (loaded.original_height_px, loaded.original_width_px) == (stored.height, stored.width)
    assert loaded.notes == (() if orientation == 1 else (f"exif orientation {orientation}",))


def test_a_tiff_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = corners().transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(pixels(encoded(stored, "TIFF", exif=exif)), np.asarray(corners()))


def test_damaged_exif_does_not_cost_the_image() -> None:
    data = encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff")
    assert load_image(data).rgb.size == (3, 2)


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 128))
    loaded = load_image(encoded(image))
    assert np.asarray(loaded.rgb).tolist() == [[[255, 255, 255], [255, 127, 127]]]
    assert loaded.notes == ("alpha over white",)


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBa"])
def test_other_alpha_modes(mode: str) -> None:
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert pixels(image.convert(mode)).tolist() == [[[255, 255, 255]]]


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    plain = load_image(encoded(image))
    assert np.asarray(plain.rgb).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert plain.notes == ("palette to RGB",)
    keyed = load_image(encoded(image, transparency=0))
    assert np.asarray(keyed.rgb).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    assert keyed.notes == ("alpha over white",)


def test_a_transparent_colour_of_an_rgb_png() -> None:
    assert pixels(encoded(corners(), transparency=RED))[0, 0].tolist() == [255, 255, 255]


def test_gray_one_bit_and_cmyk() -> None:
    assert load_image(Image.new("L", (1, 1), 77)).notes == ("gray to RGB",)
    assert pixels(encoded(Image.new("1", (1, 1), 1))).tolist() == [[[255, 255, 255]]]
    cmyk = load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert cmyk.notes == ("CMYK to RGB",)
    red, green, blue = np.asarray(cmyk.rgb)[0, 0]
    assert red > 250 and green < 5 and blue < 5


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    loaded = load_image(encoded(Image.fromarray(values), kind))
    assert np.asarray(loaded.rgb)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert loaded.notes == ("16-bit to 8-bit",)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bit_pil_modes(mode: str) -> None:
    image = Image.new("I", (1, 1), 32768)
    if mode != "I":
        image = Image.frombytes(mode, (1, 1), struct.pack("<H" if mode == "I;16" else ">H", 32768))
    assert pixels(image).tolist() == [[[128, 128, 128]]]


def test_wide_types_that_hold_bytes_are_taken_as_they_are() -> None:
    assert pixels(Image.new("I", (1, 1), 200)).tolist() == [[[200, 200, 200]]]
    assert pixels(np.full((1, 1), 200, np.int64)).tolist() == [[[200, 200, 200]]]
    assert pixels(np.full((1, 1), 200.0, np.float32)).tolist() == [[[200, 200, 200]]]


def test_values_out_of_range_are_stretched_and_noted() -> None:
    loaded = load_image(np.array([[-1.0, 0.0, 1.0]]))
    assert np.asarray(loaded.rgb)[0, :, 0].tolist() == [0, 128, 255]
    assert loaded.notes == ("-1 to 1 stretched to 8-bit", "gray to RGB")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_in_zero_to_one(dtype: type) -> None:
    loaded = load_image(np.array([[[0.0, 0.5, 1.0]]], dtype=dtype))
    assert np.asarray(loaded.rgb).tolist() == [[[0, 128, 255]]]
    assert loaded.notes == ("floats in [0, 1] to 8-bit",)


def test_array_shapes_and_types() -> None:
    assert pixels(np.zeros((2, 3), np.uint8)).shape == (2, 3, 3)
    assert pixels(np.zeros((2, 3, 1), np.uint8)).shape == (2, 3, 3)
    assert pixels(np.zeros((2, 3, 4), np.uint8)).tolist() == np.full((2, 3, 3), 255).tolist()
    assert pixels(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]
    assert pixels(np.full((1, 1, 3), 65535, np.uint16)).tolist() == [[[255, 255, 255]]]
    assert pixels(np.full((1, 1, 3), 100, np.uint16)).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 8, 8), np.uint8), "channels come last"),
        (np.zeros((1, 8, 8, 3), np.uint8), "is no image"),
        (np.zeros((8, 8, 2), np.uint8), "is no image"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.array([[np.nan]]), "not finite"),
        (np.array([["a"]]), "not numbers"),
        (np.zeros((2, 2), np.complex64), "not numbers"),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        load_image(array)


def test_an_animation_gives_its_first_frame_and_says_so() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, GREEN, BLUE)]
    loaded = load_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert "first of 3 frames" in loaded.notes
    assert np.asarray(loaded.rgb)[0, 0].tolist() == list(RED)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header declares a size and whose data are missing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    end = b"\0\0\0\0IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + chunk + end


@pytest.mark.parametrize("side", [14000, 60000])
def test_a_pixel_bomb_is_refused_before_decoding(side: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(side, side))
    with pytest.raises(ImageError, match=r"bomb\.png is too large.*179 megapixels"):
        load_image(path)


def test_the_limit_holds_where_the_application_lifted_pillows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="too large"):
        load_image(png_claiming(MAX_PIXELS, 2))


def test_a_large_photo_below_the_limit_does_not_warn() -> None:
    with pytest.raises(
        ImageError, match="damaged or incomplete"
    ):  # and no DecompressionBombWarning
        load_image(png_claiming(10000, 10000))


def test_the_size_is_told_by_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    whole = encoded(corners().resize((640, 480)))
    path.write_bytes(whole[:60])  # of the pixels there is next to nothing
    assert image_px(path) == image_px(whole) == 480 * 640
    path.write_bytes(b"hello, I am text")
    for source, says in (
        (path, "not an image of a known format"),
        (b"", "is empty"),
        (tmp_path / "absent.png", "no file"),
        (tmp_path, "is a folder"),
        (png_claiming(60000, 60000), "too large"),
        (png_claiming(0, 5), "too large|no pixels|cannot be read|not an image"),
    ):
        with pytest.raises(ImageError, match=says):
            image_px(source)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise))
    cases = {
        "empty.png": (b"", "is empty"),
        "text.jpg": (b"hello, I am text", "not an image of a known format"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC/HEIF"),
        "cut.png": (whole[: len(whole) // 2], "damaged or incomplete"),
        "cut.jpg": (encoded(corners().resize((64, 64)), "JPEG")[:-300], "damaged or incomplete"),
        "nil.png": (png_claiming(0, 5), "nil.png"),
    }
    for name, (data, says) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError, match=says) as error:
            load_image(path)
        assert name in error.value.message
    with pytest.raises(ImageError, match=r"no file .*absent\.png"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="over the network"):
        load_image("https://example.org/cat.png")
    with pytest.raises(ImageError, match="the image bytes is empty"):
        load_image(b"")
