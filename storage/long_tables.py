"""Tables of cells that are written and read a part at a time, so that none is ever held whole."""

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata.io import write_elem

from storage import arrays, tables
from storage.arrays import Digests, digest
from storage.errors import MissingInputError
from storage.objects import Objects

ROWS = 16_384  # of a part on the disk: what is held while a table grows


class GrowingTable:
    """A table to which rows are appended; it is there once its block is left.

    One that ends with a single part is what `tables.write_table` writes. Of a longer one each column is an
    array of chunks of `ROWS` rows, which are written as they fill; what describes them comes last.
    """

    def __init__(self, objects: Objects, path: str, written: Digests) -> None:
        self.objects, self.path, self.written = objects, path, written
        self._waiting: list[pd.DataFrame] = []
        self._count = self._parts = 0
        self._documents: dict[str, bytes] = {}

    def __enter__(self) -> "GrowingTable":
        self.objects.delete(list(self.objects.names(self.path)))  # what an unfinished run left
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        rest = self._joined()
        if self._parts == 0:
            columns = {str(name): rest[name].array for name in rest.columns}
            tables.write_table(
                self.objects, self.path, names=list(rest.index), columns=columns, written=self.written
            )
        else:
            self._write(rest)
            self._put(self._documents)

    def append(self, rows: pd.DataFrame) -> None:
        """Append rows; all parts have the same columns, and a text column that varies the same categories."""
        every = [*self._waiting, rows.assign(**{name: tables.plain(rows[name]) for name in rows.columns})]
        self._waiting = [one for one in every if len(one)] or every[:1]
        self._count += len(rows)
        if sum(map(len, self._waiting)) > ROWS:
            joined = self._joined()
            while len(joined) > ROWS:
                self._write(joined.iloc[:ROWS])
                joined = joined.iloc[ROWS:]
            self._waiting = [joined]

    def _joined(self) -> pd.DataFrame:
        return pd.concat(self._waiting) if self._waiting else pd.DataFrame()

    def _write(self, rows: pd.DataFrame) -> None:
        """Write one chunk of each column as if it were the first, under the number that it has."""
        held: dict[str, bytes] = {}
        with tables.settings_of_anndata(), arrays.group_into(held) as group:
            write_elem(group, "/", anndata.AnnData(obs=rows), dataset_kwargs={"chunks": (ROWS,)})
        chunks = {name for name in held if name.endswith("/c/0") and "/categories/" not in name}
        self._put({f"{name.removesuffix('0')}{self._parts}": held.pop(name) for name in chunks})
        self._documents = {name: self._lengthened(name, content) for name, content in held.items()}
        self._parts += 1

    def _lengthened(self, name: str, content: bytes) -> bytes:
        """Give the description of a column the length of the whole table."""
        if not name.startswith("obs/") or not name.endswith("/zarr.json") or "/categories/" in name:
            return content
        document = json.loads(content)
        if document["node_type"] == "array":
            document["shape"] = [self._count]
        return json.dumps(document).encode()

    def _put(self, made: dict[str, bytes]) -> None:
        whole = {f"{self.path}/{name}": content for name, content in sorted(made.items())}
        self.objects.put_all(whole)
        self.written.update({name: digest(content) for name, content in whole.items()})


def read_rows(
    objects: Objects,
    path: str,
    start: int = 0,
    stop: int | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read some rows of a table with their names, or only some columns of these rows.

    Raises
    ------
    MissingInputError
        There is no table at `path`.
    """
    if not objects.exists(f"{path}/zarr.json"):
        raise MissingInputError(f"expected a table at {objects.uri(path)}, found none")
    rows = slice(start, stop)
    with arrays.group_at(objects, path) as group:
        obs = group["obs"]
        found = {name: _part(obs[name], rows) for name in columns or obs.attrs["column-order"]}
        names = None if columns else np.asarray(obs[obs.attrs["_index"]][rows], object)
    return pd.DataFrame(found, index=names)


def _part(column: Any, rows: slice) -> Any:
    if column.attrs["encoding-type"] != "categorical":
        return column[rows]
    categories = pd.Index(np.asarray(column["categories"][:], object))
    return pd.Categorical.from_codes(np.asarray(column["codes"][rows], np.int64), categories)
