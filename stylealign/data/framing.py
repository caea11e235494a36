"""The square frame of each record: its image, points, boxes and masks drawn in it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stylealign.data.align import (
    Affine,
    Template,
    centre_square,
    fit_template,
    move_points,
    source_points,
    warp,
    warp_mask,
)
from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.data.scan import Scan
from stylealign.errors import DataError
from stylealign.images import Pixels, crop_and_resize, decode_mask, encode_png


@dataclass(frozen=True)
class Framing:
    """How each record comes into its frame: centred, or fitted to a template."""

    template: Template | None
    affines: Mapping[str, Affine]
    residuals: Mapping[str, float]
    """Distance left after the fit, as a fraction of the frame; empty without a template."""
    schema: LabelSchema
    """Schema of the prepared labels: points and boxes are fractions of the frame."""

    def draw(self, image_id: str, pixels: Pixels, resolution: int) -> Pixels:
        """Image of one record in its frame."""
        if self.template is None:
            return crop_and_resize(pixels, resolution)
        return warp(pixels, self.affines[image_id], resolution)

    def move_label(
        self, image_id: str, name: str, cell: object, size: tuple[int, int], resolution: int
    ) -> object:
        """Label of one record in its frame; labels without a place stay as they are.

        Boxes outside the frame are left out.

        Raises: DataError if a mask cannot be decoded or has another size than its image.
        """
        spec = self.schema[name]
        if spec.type not in ("keypoints", "boxes", "mask") or not isinstance(cell, list | bytes):
            return cell
        affine = self.affines[image_id]
        if isinstance(cell, bytes):
            return _move_mask(image_id, cell, affine, size, resolution)
        if spec.type == "keypoints":
            return move_points(np.asarray(cell).reshape(-1, 2), affine).ravel().tolist()
        boxes = [_move_box(box, affine) for box in cell]
        return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]

    def record(self) -> dict[str, object] | None:
        """Template and residuals for the manifest."""
        if self.template is None:
            return None
        left = np.array(list(self.residuals.values()))
        return {
            **template_record(self.template),
            "residual_mean": round(float(left.mean()), 6),
            "residual_max": round(float(left.max()), 6),
        }


def template_record(template: Template | None) -> dict[str, object]:
    """Template in plain values."""
    if template is None:
        return {}
    points: dict[str, object] = {name: list(place) for name, place in template.points.items()}
    return {"label": template.label, "points": points, "max_residual": template.max_residual}


def frame_records(
    found: Scan, schema: LabelSchema, template: Template | None
) -> tuple[Scan, Framing]:
    """Find the frame of every record; records that do not fit the template are left out.

    Raises: DataError if the template's label is no keypoint or box label of the schema.
    """
    if template is not None:
        _require_template_label(schema, template)
    affines: dict[str, Affine] = {}
    residuals: dict[str, float] = {}
    rejected: list[tuple[str, str, str]] = []
    sizes = found.records[["source_width", "source_height"]].to_numpy()
    for image_id, (width, height) in zip(found.records["id"], sizes, strict=True):
        size = (int(width), int(height))
        if template is None:
            affines[image_id] = centre_square(*size)
            continue
        cell = found.labels.at[image_id, template.label]
        fit = _fit(cell, schema[template.label], template, size)
        if isinstance(fit, str):
            rejected.append((image_id, image_id, f"not aligned: {fit}"))
        else:
            affines[image_id], residuals[image_id] = fit
    relative = {name: _in_frame(spec) for name, spec in schema.items()}
    kept = _without(found, rejected) if rejected else found
    return _in_pixels(kept, schema), Framing(template, affines, residuals, relative)


def _fit(
    cell: object, spec: LabelSpec, template: Template, size: tuple[int, int]
) -> tuple[Affine, float] | str:
    if not isinstance(cell, list) or not cell:
        return f"label {template.label!r} is missing"
    try:
        affine, residual = fit_template(cell, spec, template, size)
    except DataError as error:
        return str(error)
    if residual > template.max_residual:
        return f"residual {residual:.3f} of the frame, expected at most {template.max_residual:g}"
    return affine, round(residual, 6)


def _require_template_label(schema: LabelSchema, template: Template) -> None:
    spec = schema.get(template.label)
    if spec is None or spec.type not in ("keypoints", "boxes"):
        message = (
            f"alignment needs keypoints or boxes, label {template.label!r} is "
            f"{'not in the label schema' if spec is None else repr(spec.type)}"
        )
        raise DataError(message)
    known = spec.values if spec.type == "keypoints" else ("top_left", "bottom_right")
    missing = sorted(set(template.points) - set(known))
    if missing or len(template.points) < 2:
        message = f"template of {template.label!r} names {sorted(template.points)!r}; expected "
        raise DataError(message + f"at least two of {list(known)!r}")
    places = np.array([template.points[name] for name in known if name in template.points])
    is_box = spec.type == "boxes"
    extent = np.diff(places, axis=0).min() if is_box else np.ptp(places, axis=0).max()
    if not extent > 0:
        message = f"template of {template.label!r} has its points at {places.tolist()!r}; expected "
        raise DataError(message + "places that lie apart, a box's top left before its bottom right")


def _without(found: Scan, rejected: list[tuple[str, str, str]]) -> Scan:
    left_out = {image_id for image_id, _, _ in rejected}
    is_kept = ~found.records["id"].isin(list(left_out))
    table = pd.DataFrame(rejected, columns=found.rejected.columns, dtype=str)
    return replace(
        found,
        records=found.records[is_kept].reset_index(drop=True),
        labels=found.labels[is_kept.to_numpy()],
        raw_labels=found.raw_labels[is_kept.to_numpy()],
        rejected=pd.concat([found.rejected, table]).sort_values(["id", "path", "reason"]),
    )


def _in_frame(spec: LabelSpec) -> LabelSpec:
    is_place = spec.type in ("keypoints", "boxes")
    return spec.model_copy(update={"unit": "relative"}) if is_place else spec


def _in_pixels(found: Scan, schema: LabelSchema) -> Scan:
    """Points and boxes in pixels of the source image, whatever the unit they were given in."""
    sizes = found.records[["source_width", "source_height"]].to_numpy()
    labels = found.labels.copy()
    for name, spec in schema.items():
        if spec.type in ("keypoints", "boxes") and spec.unit == "relative":
            cells = labels[name].tolist()
            moved = [
                _scale(cell, spec, (int(width), int(height)))
                for cell, (width, height) in zip(cells, sizes, strict=True)
            ]
            labels[name] = pd.Series(moved, index=labels.index, dtype="object")
    return replace(found, labels=labels)


def _scale(cell: object, spec: LabelSpec, size: tuple[int, int]) -> object:
    if not isinstance(cell, list):
        return cell
    points = source_points(cell, spec, size)
    return points.ravel().tolist() if spec.type == "keypoints" else points.reshape(-1, 4).tolist()


def _move_box(box: list[float], affine: Affine) -> list[float]:
    """Upright box around the moved corners, cut at the frame."""
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    moved = move_points(corners, affine).clip(0.0, 1.0)
    return [*moved.min(axis=0).tolist(), *moved.max(axis=0).tolist()]


def _move_mask(
    image_id: str, data: bytes, affine: Affine, size: tuple[int, int], resolution: int
) -> bytes:
    mask = decode_mask(data)
    if mask.shape != (size[1], size[0]):
        message = f"mask of {image_id!r} has {mask.shape[1]} x {mask.shape[0]} pixels; expected "
        raise DataError(message + f"{size[0]} x {size[1]}, as its image has")
    return encode_png(warp_mask(mask, affine, resolution))
