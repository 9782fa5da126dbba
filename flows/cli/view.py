"""The command that shows a result on the screen: view."""

from importlib.util import find_spec
from typing import Annotated, Any

import typer

from flows.cli.common import Common, command, err, out
from storage.errors import InputError


@command
def view(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A key or its first digits.")], common: Common
) -> None:
    """Open an image, its labels and its cells, coloured by cluster, in napari.

    KEY is that of a raw or clean image, labels or clusters; what was made from it last is shown with it.
    napari is not installed with chipcyte: pip install "napari[all]".

    Example: chipcyte view 3f9a --store /data/store
    """
    from storage import records
    from storage.objects import open_store
    from tasks import looked_at

    objects = open_store(common.store)
    record = records.resolve(objects, key)
    if record.kind not in looked_at.KINDS:
        raise InputError(
            f"expected the key of {', '.join(looked_at.KINDS)}, found {record.kind} {record.key[:12]}"
        )
    sights = looked_at.sights(objects, record)
    if len(sights) > 1:
        others = ", ".join(one.labels.key[:12] for one in sights[1:6] if one.labels)
        err.print(f"the first of {len(sights)} recordings is shown; view others by the keys of their labels:")
        err.print(others, soft_wrap=True)
    layers = looked_at.layers(objects, sights[0])
    result: dict[str, Any] = {
        "key": record.key,
        "uri": objects.uri(record.path),
        "counts": {"layers": len(layers)},
        "metrics": {},
        "reused": True,
        "layers": [layer.options["name"] for layer in layers],
    }
    _show(layers, record.name)
    common.show(result, lambda: out.print(", ".join(result["layers"]), soft_wrap=True))


def _show(layers: list[Any], title: str) -> None:
    """Open a window and wait until it is closed."""
    if find_spec("napari") is None:
        raise InputError(
            'expected napari, which shows images, and found none: pip install "napari[all]", or export the '
            "image with `chipcyte export` and open that in a viewer of your own"
        )
    import napari  # type: ignore[import-not-found, unused-ignore]

    viewer = napari.Viewer(title=f"chipcyte: {title}")
    viewer.dims.axis_labels = ("t", "z", "y", "x")
    for layer in layers:
        getattr(viewer, f"add_{layer.kind}")(layer.data, **layer.options)
    napari.run()
