import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from edge_et_tuning.pool import GRID, patch_labels, pixels_of
from edge_et_tuning.render import encode, render
from edge_et_tuning.scenes import (
    BACKGROUNDS,
    COLOURS,
    FILLS,
    MAX_OBJECTS,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    SHAPES,
    SIZES,
    sample_scene,
)

SCENES = [sample_scene(seed) for seed in range(600)]


def test_a_scene_is_a_function_of_its_seed():
    assert sample_scene(7) == sample_scene(7)
    assert sample_scene(7) != sample_scene(8)
    assert render(sample_scene(7)).tobytes() == render(sample_scene(7)).tobytes()


def test_scenes_cover_all_that_the_card_promises():
    items = [item for scene in SCENES for item in scene.objects]
    assert {i.shape for i in items} == set(SHAPES)
    assert {i.colour for i in items} == set(COLOURS)
    assert {i.size for i in items} == set(SIZES)
    assert {i.fill for i in items} == set(FILLS)
    assert {s.background for s in SCENES} == set(BACKGROUNDS)
    assert {len(s.objects) for s in SCENES} == set(range(1, MAX_OBJECTS + 1))
    assert {s.antialias for s in SCENES} == {True, False}
    assert {s.jpeg_quality is None for s in SCENES} == {True, False}


def test_sides_stay_in_range_and_reach_strips():
    sides = [side for s in SCENES for side in (s.height_px, s.width_px)]
    assert min(sides) >= MIN_SIDE_PX
    assert max(sides) <= MAX_SIDE_PX
    assert max(max(s.height_px, s.width_px) / min(s.height_px, s.width_px) for s in SCENES) > 3


def test_objects_lie_inside_and_apart():
    for scene in SCENES:
        for i, a in enumerate(scene.objects):
            radius = a.diameter_px / 2
            assert radius <= a.x_px <= scene.width_px - radius
            assert radius <= a.y_px <= scene.height_px - radius
            for b in scene.objects[:i]:
                gap = np.hypot(a.x_px - b.x_px, a.y_px - b.y_px)
                assert gap > (a.diameter_px + b.diameter_px) / 2


@pytest.mark.parametrize("seed", range(12))
def test_an_object_is_drawn_in_its_colour_where_it_says(seed):
    scene = sample_scene(seed)
    pixels = np.asarray(render(scene)).astype(int)
    for item in scene.objects:
        if item.fill != "solid" or item.shape == "ring":
            continue
        centre = pixels[round(item.y_px), round(item.x_px)]
        assert np.abs(centre - item.rgb).max() <= 2


def test_the_file_has_the_format_it_names():
    formats = Counter()
    for scene in SCENES[:20]:
        image = Image.open(io.BytesIO(encode(scene, render(scene))))
        assert image.size == (scene.width_px, scene.height_px)
        assert (image.format == "PNG") is (scene.jpeg_quality is None)
        formats[image.format] += 1
    assert len(formats) == 2


def test_patch_labels_name_each_object_and_nothing_else():
    for scene in SCENES[:50]:
        labels, centres = patch_labels(scene)
        owned = labels[:, 0] >= 0
        found = {tuple(row) for row in labels[owned]}
        expected = {
            (SHAPES.index(i.shape), tuple(COLOURS).index(i.colour),
             SIZES.index(i.size), FILLS.index(i.fill))
            for i in scene.objects
        }  # fmt: skip
        assert found == expected
        assert ((centres[owned] > 0) & (centres[owned] < 1)).all()
        assert (labels[~owned] == -1).all()
        assert owned.sum() < GRID * GRID


def test_the_pool_holds_what_the_runtime_would_show_the_tower():
    """Training pixels made by another path than the runtime's would teach the wrong eyes."""
    from edge_et.image import load_image
    from edge_et.tiling import prepare
    from edge_et_tuning.pool import POLICY

    scene = SCENES[3]
    values = prepare(load_image(encode(scene, render(scene))).rgb, POLICY).pixel_values[0]
    stored = pixels_of(scene).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(stored, values, atol=1e-5)
