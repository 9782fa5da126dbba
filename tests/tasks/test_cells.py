import numpy as np
import pytest

from storage.experiment import read_labels
from tasks.cells import columns_of_plane, columns_of_planes
from tests.support import cells_of


def test_raw_centroids_lie_on_the_true_nuclei(experiment, carried):
    objects, acquisitions = carried
    hits = total = 0
    for one in acquisitions:
        truth_tyx = read_labels(experiment, one.raw.name)
        cells = cells_of(objects, one.labels)
        for t, y, x in cells[["t", "centroid_y_raw_px", "centroid_x_raw_px"]].to_numpy():
            inside = 0 <= round(y) < truth_tyx.shape[1] and 0 <= round(x) < truth_tyx.shape[2]
            hits += bool(inside and truth_tyx[int(t), round(y), round(x)])
        total += len(cells)
    assert total > 30
    assert hits >= 0.95 * total  # a bent or lobed nucleus may not hold its own centroid


def test_without_a_rotation_the_raw_centroid_is_the_centroid(store, tmp_path):
    from tasks.segment_settings import Threshold
    from tests.tasks.test_segment import segmented, write_tiff

    y, x = np.mgrid[:100, :120]
    pixels = np.where((y - 40) ** 2 + (x - 70) ** 2 < 12**2, 4000, 200).astype(np.uint16)
    _, labels = segmented(store, write_tiff(tmp_path / "one.tif", pixels), method=Threshold())
    (row,) = cells_of(store, labels).to_dict("records")
    assert (row["centroid_y_raw_px"], row["centroid_x_raw_px"]) == pytest.approx((40, 70))
    assert (row["centroid_y_px"], row["centroid_x_px"]) == pytest.approx((40, 70))


def plane(t, z, labels, area_um2):
    from tasks.cells import TYPES

    columns = {name: [0] * len(labels) for name in TYPES}
    return columns_of_plane({"t": t, "z": z, "columns": columns | {"label": labels, "area_um2": area_um2}})


def test_planes_join_in_order_with_their_types():
    joined = columns_of_planes([plane(0, 0, [1, 2], [5, 6]), plane(0, 1, [], []), plane(1, 0, [1], [7])], 0.5)
    assert joined["t"].tolist() == [0, 0, 1]
    assert joined["z"].tolist() == [0, 0, 0]
    assert joined["label"].tolist() == [1, 2, 1]
    assert joined["label"].dtype == np.uint32
    assert joined["area_um2"].tolist() == [5, 6, 7]
    assert joined["touches_edge"].dtype == bool


def test_um_are_not_a_number_where_the_pixel_size_is_not_known():
    joined = columns_of_planes([plane(0, 0, [1], [5])], None)
    missing = {name for name, values in joined.items() if np.isnan(values.astype(float)).any()}
    places = {f"centroid_{axis}{of}_um" for axis in "yx" for of in ("", "_raw")}
    assert missing == {"area_um2", "major_axis_um", "minor_axis_um"} | places
