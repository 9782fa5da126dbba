"""Nikon's ND2 files, a position of each an acquisition, read through the nd2 package."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nd2
import numpy as np
from numpy.typing import NDArray

from storage.errors import FormatError, MissingInputError
from storage.ome import ImageMetadata
from storage.sources.base import Acquisition, check_dtype
from storage.sources.tiff_metadata import metadata_of
from storage.sources.units import number

AXES = "TPZCYXS"
UNIX_EPOCH_DAY = 2440587.5  # 1970-01-01 as a Julian day


class Nd2Source:
    """One position of an open ND2 file."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.path = acquisition.location
        self._file = _open(self.path)
        try:
            self._read_header(acquisition)
        except FormatError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise FormatError(
                f"{self.path}: its header cannot be read ({error}); copy the file again"
            ) from error

    def _read_header(self, acquisition: Acquisition) -> None:
        sizes = dict(self._file.sizes)
        position = acquisition.scene if isinstance(acquisition.scene, int) else 0
        if not set(sizes) <= set(AXES) or position >= sizes.get("P", 1):
            raise FormatError(
                f"{self.path}: expected time points, positions, z planes and channels, found {sizes}; "
                "export the recording as an OME-TIFF"
            )
        self._frames = _frames(self._file, position)
        channels, samples = sizes.get("C", 1), sizes.get("S", 1)
        self._frame_shape = (channels, sizes["Y"], sizes["X"], samples)
        self.dtype = check_dtype(np.dtype(self._file.dtype), self.path)
        self.shape = (sizes.get("T", 1), channels * samples, sizes.get("Z", 1), sizes["Y"], sizes["X"])
        self._check_complete()
        self.metadata: ImageMetadata = _metadata(self._file, acquisition, self.shape[1], self._frames[0, 0])

    def _check_complete(self) -> None:
        """Refuse a recording that lacks frames: the package would read them as zeros."""
        expected = self.shape[0] * self.shape[2]
        present = getattr(self._file._rdr, "_frame_offsets", None)
        found = [index for index in self._frames.values() if present is None or index in present]
        if len(found) < expected:
            raise FormatError(
                f"{self.path}: expected {expected} frames as its header says, found {len(found)}; the "
                "file is incomplete or the recording was stopped: copy it again or export what is there"
            )

    def read_plane(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return one plane (y, x); FormatError if the file cannot be read any more."""
        samples = self._frame_shape[-1]
        try:
            frame = np.asarray(self._file.read_frame(self._frames[t, z])).reshape(self._frame_shape)
        except Exception as error:
            raise FormatError(
                f"{self.path}: the frame t {t}, z {z} cannot be read ({error}); copy the file again"
            ) from error
        return np.ascontiguousarray(frame[c // samples, :, :, c % samples], dtype=self.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Stream(io.RawIOBase):
    """A file that cannot be mapped into memory: a map of a file that shrinks kills whoever reads it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.length_bytes = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        start = self._file.tell()
        found = self._file.readinto(buffer) or 0
        if start + found < min(self.length_bytes, start + len(buffer)):
            raise OSError("the file became shorter while it was read")
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(path: Path) -> Any:
    try:
        return nd2.ND2File(_Stream(path))  # type: ignore[arg-type]  # what it needs is read, seek and close
    except FileNotFoundError as error:
        raise MissingInputError(f"expected the file {path}, found nothing there") from error
    except Exception as error:
        raise FormatError(
            f"{path}: expected an ND2 file, found something else ({error}); copy it again"
        ) from error


def nd2_acquisitions(path: Path) -> list[Acquisition]:
    """Return the positions of an ND2 file; a damaged one is one, and its reader says what is wrong."""
    alone = Acquisition(path.name, path, (path,), "nd2")
    try:
        file = _open(path)
        try:
            count = int(dict(file.sizes).get("P", 1))
        finally:
            file.close()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the reader will say it
        return [alone]
    if count < 2:
        return [alone]
    return [Acquisition(f"{path.name}#{scene}", path, (path,), "nd2", scene=scene) for scene in range(count)]


def _frames(file: Any, position: int) -> dict[tuple[int, int], int]:
    """Return the index of each frame (t, z) of a position."""
    loops: tuple[dict[str, int], ...] = file.loop_indices or ({},)
    return {
        (place.get("T", 0), place.get("Z", 0)): index
        for index, place in enumerate(loops)
        if place.get("P", 0) == position
    }


def _metadata(file: Any, acquisition: Acquisition, channels: int, frame: int) -> ImageMetadata:
    every = file.metadata.channels or []
    names = [one.channel.name for one in every if one.channel.name]
    facts = {
        "pixel_size_um": _pixel_size_um(every, "Z" in file.sizes),
        "time_interval_s": _interval_s(file),
        "channel_names": names,
        "acquired": _acquired(file, frame),
        "extra": _extra(file, every, frame),
    }
    return metadata_of(acquisition.name, channels, facts)


def _pixel_size_um(channels: list[Any], stack: bool) -> tuple[float | None, float | None, float | None]:
    """Return the calibrated sizes (z, y, x); an axis that was never calibrated is not known."""
    if not channels:
        return None, None, None
    volume = channels[0].volume
    x, y, z = (
        number(size) if known else None
        for size, known in zip(volume.axesCalibration, volume.axesCalibrated, strict=True)
    )
    return (z if stack else None), y, x


def _interval_s(file: Any) -> float | None:
    """Return the period of the time loop as measured, or as set where nothing was measured."""
    for loop in file.experiment:
        if loop.type == "TimeLoop":
            parameters = loop.parameters
            measured = number(parameters.periodDiff.avg) if parameters.periodDiff else None
            period_ms = measured or number(parameters.periodMs)
            return None if period_ms is None else period_ms / 1000
    return None


def _acquired(file: Any, frame: int) -> str | None:
    """Return when a frame was taken, in UTC; the file's own words where it has no time stamps."""
    described = file.frame_metadata(frame)
    day = None if isinstance(described, dict) else number(described.channels[0].time.absoluteJulianDayNumber)
    if day is None or day <= UNIX_EPOCH_DAY:
        date = file.text_info.get("date")
        return None if date is None else str(date)
    return datetime.fromtimestamp((day - UNIX_EPOCH_DAY) * 86400, UTC).isoformat(timespec="milliseconds")


def _extra(file: Any, channels: list[Any], frame: int) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if channels:
        scope = channels[0].microscope
        lens = {
            "name": scope.objectiveName,
            "magnification": number(scope.objectiveMagnification),
            "numerical_aperture": number(scope.objectiveNumericalAperture),
        }
        facts["objective"] = {name: value for name, value in lens.items() if value}
        facts["channels"] = [_wavelengths(one.channel) for one in channels]
        facts["stage_position_um"] = _stage_position_um(file, frame)
    return {name: value for name, value in facts.items() if value and any(value)}


def _wavelengths(channel: Any) -> dict[str, float]:
    facts = {
        "excitation_nm": number(channel.excitationLambdaNm),
        "emission_nm": number(channel.emissionLambdaNm),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _stage_position_um(file: Any, frame: int) -> dict[str, float]:
    described = file.frame_metadata(frame)
    stage = None if isinstance(described, dict) else described.channels[0].position.stagePositionUm
    found = {axis: number(getattr(stage, axis, None), signed=True) for axis in "xyz"}
    return {axis: value for axis, value in found.items() if value is not None}
