"""CZI and LIF through the real plugins of the extra `formats`, which is part of `dev`."""

import numpy as np
import pytest
from pylibCZIrw import czi as czi_library

from storage.errors import FormatError
from storage.sources.discovery import find_acquisitions, open_acquisition
from tests.storage.sources.lif_files import write_lif
from tests.storage.sources.support import metadata, only, read_all

SCENES = np.random.default_rng(0).integers(0, 60_000, (2, 3, 2, 4, 40, 50)).astype(np.uint16)
LISTED = """<S><Scenes>
<Scene Index="0" Name="left"><CenterPosition>12.5,-3</CenterPosition></Scene>
<Scene Index="1" Name="right"/>
</Scenes></S>"""


@pytest.fixture
def lif(tmp_path):
    return write_lif(tmp_path / "two.lif", {"first": SCENES[0], "second": SCENES[1, :2, :, :1]})


@pytest.fixture
def czi(tmp_path):
    """Give a function that writes scenes by Zeiss's own library, side by side on the stage."""

    def write(scenes, *, listed=True):
        path = tmp_path / "a.czi"
        with czi_library.create_czi(str(path)) as file:
            for scene, t, c, z in np.ndindex(scenes.shape[:4]):
                place, where = {"T": t, "C": c, "Z": z}, {"scene": scene, "location": (1000 * scene, 0)}
                file.write(scenes[scene, t, c, z][..., None], plane=place, **where)
            names = {0: "nuclei", 1: "tubulin"}
            # The library names no scenes, which microscopes do: room is made where they are put in.
            title = "-" * len(LISTED)
            file.write_metadata(title, names, scale_x=0.5e-6, scale_y=0.25e-6, scale_z=2e-6)
        if listed:
            content = path.read_bytes().replace(title.encode(), b"")
            found = content.index(b"</Dimensions>")
            path.write_bytes(content[:found] + LISTED.encode() + content[found:])
        return path

    return write


def test_each_image_of_a_lif_is_an_acquisition(lif):
    first, second = find_acquisitions([lif])
    assert [one.name for one in (first, second)] == ["two.lif#0", "two.lif#1"]
    np.testing.assert_array_equal(read_all(first), SCENES[0])
    np.testing.assert_array_equal(read_all(second), SCENES[1, :2, :, :1])
    assert metadata(first).pixel_size_um == pytest.approx((2.0, 0.5, 0.5))


def test_a_lif_cut_short_is_a_format_error(lif):
    content = lif.read_bytes()
    for kept in (10, len(content) // 2, len(content) - 1):
        lif.write_bytes(content[:kept])
        with pytest.raises(FormatError, match=r"two\.lif"):
            [read_all(one) for one in find_acquisitions([lif])]


def test_a_czi_of_one_scene(czi):
    found = only(czi(SCENES[:1], listed=False))
    np.testing.assert_array_equal(read_all(found), SCENES[0])
    said = metadata(found)
    assert said.pixel_size_um == pytest.approx((2.0, 0.25, 0.5))
    assert said.channel_names == ("nuclei", "tubulin")


def test_each_scene_of_a_czi_is_an_acquisition(czi):
    found = find_acquisitions([czi(SCENES)])
    assert [one.name for one in found] == ["a.czi#0", "a.czi#1"]
    for scene, one in enumerate(found):
        np.testing.assert_array_equal(read_all(one), SCENES[scene])
    assert [metadata(one).extra for one in found] == [{"stage_position_um": {"x": 12.5, "y": -3.0}}, {}]


def test_scenes_that_the_metadata_does_not_list_are_not_left_out_in_silence(czi):
    path = czi(SCENES, listed=False)
    with pytest.raises(FormatError, match=r"a\.czi: expected the 2 scenes .* found 1"):
        open_acquisition(only(path))


def test_a_czi_cut_short_is_a_format_error(czi):
    path = czi(SCENES)
    content = path.read_bytes()
    for kept in (10, len(content) // 2):
        path.write_bytes(content[:kept])
        with pytest.raises(FormatError, match=r"a\.czi"):
            [read_all(one) for one in find_acquisitions([path])]
