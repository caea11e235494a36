"""Snapshots of the TensorFlow era made by hand, and what their networks compute, in float64.

The evaluation is written from the format's facts alone, in plain numpy and TensorFlow's own
layout: it shares neither code nor formulation with the importer and the networks under test.
"""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Variables = dict[str, np.ndarray]
Shapes = dict[str, Sequence[int]]
TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
SQRT2 = np.sqrt(2)


def random_variables(shapes: Shapes, rng: np.random.Generator) -> Variables:
    """Float32 numbers of a size that keeps activations near one."""
    scales = {"noise_strength": 0.2, "bias": 0.3, "mod_bias": 0.3}
    return {
        name: np.asarray(rng.normal(size=shape) * scales.get(name.split("/")[-1], 1), np.float32)
        for name, shape in shapes.items()
    }


def mapping_shapes(z: int, w: int, labels: int, layers: int, hidden: int) -> Shapes:
    shapes: Shapes = {}
    if labels:
        shapes = {"LabelEmbed/weight": (labels, z), "LabelEmbed/bias": (z,)}
    widths = [2 * z if labels else z] + [hidden] * (layers - 1) + [w]
    for i in range(layers):
        shapes |= {f"Dense{i}/weight": widths[i : i + 2], f"Dense{i}/bias": widths[i + 1 : i + 2]}
    return shapes


def synthesis_shapes(widths: dict[int, int], w: int, architecture: str) -> Shapes:
    shapes: Shapes = {"4x4/Const/const": (1, widths[4], 4, 4)}
    noise = 0
    for res, width in widths.items():
        below = widths.get(res // 2, width)
        layers = [("Conv", width)] if res == 4 else [("Conv0_up", below), ("Conv1", width)]
        if architecture == "skip" or res == max(widths):
            layers.append(("ToRGB", width))
        if architecture == "resnet" and res > 4:
            shapes[f"{res}x{res}/Skip/weight"] = (1, 1, below, width)
        for name, num_inputs in layers:
            kernel, out = (1, 3) if name == "ToRGB" else (3, width)
            place = f"{res}x{res}/{name}"
            shapes |= {
                f"{place}/weight": (kernel, kernel, num_inputs, out), f"{place}/bias": (out,),
                f"{place}/mod_weight": (w, num_inputs), f"{place}/mod_bias": (num_inputs,),
            }  # fmt: skip
            if name != "ToRGB":
                shapes |= {f"{place}/noise_strength": (), f"noise{noise}": (1, 1, res, res)}
                noise += 1
    return shapes


def discriminator_shapes(
    widths: dict[int, int], dense: int, labels: int, layers: int, architecture: str
) -> Shapes:
    top = max(widths)
    cmap = dense if labels else 1
    shapes: Shapes = {"Output/weight": (dense, cmap), "Output/bias": (cmap,)}
    if labels:
        shapes |= {"LabelEmbed/weight": (labels, cmap), "LabelEmbed/bias": (cmap,)}
    for i in range(layers if labels else 0):
        shapes |= {f"Mapping{i}/weight": (cmap, cmap), f"Mapping{i}/bias": (cmap,)}
    for res, width in widths.items():
        place = f"{res}x{res}"
        if res == top or architecture == "skip":
            shapes |= {
                f"{place}/FromRGB/weight": (1, 1, 3, width),
                f"{place}/FromRGB/bias": (width,),
            }
        if res == 4:
            shapes |= {
                "4x4/Conv/weight": (3, 3, width + 1, width), "4x4/Conv/bias": (width,),
                "4x4/Dense0/weight": (width * 16, dense), "4x4/Dense0/bias": (dense,),
            }  # fmt: skip
            continue
        below = widths[res // 2]
        shapes |= {
            f"{place}/Conv0/weight": (3, 3, width, width), f"{place}/Conv0/bias": (width,),
            f"{place}/Conv1_down/weight": (3, 3, width, below),
            f"{place}/Conv1_down/bias": (below,),
        }  # fmt: skip
        if architecture == "resnet":
            shapes[f"{place}/Skip/weight"] = (1, 1, width, below)
    return shapes


def lrelu(x: np.ndarray, gain: float = SQRT2, clamp: float | None = None) -> np.ndarray:
    x = np.where(x > 0, x, 0.2 * x) * gain
    return x if clamp is None else x.clip(-clamp, clamp)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)


def dense(v: Variables, place: str, x: np.ndarray, lrmul: float = 1.0) -> np.ndarray:
    weight, bias = v[f"{place}/weight"].astype(float), v[f"{place}/bias"].astype(float)
    return x.reshape(len(x), -1) @ (weight * lrmul / np.sqrt(len(weight))) + bias * lrmul


def correlate(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """`tf.nn.conv2d`, VALID: x [N, in, H, W], weight [kh, kw, in, out]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[:2], axis=(2, 3))
    return np.einsum("nihwkl,klio->nohw", windows[:, :, ::stride, ::stride], weight, optimize=True)


def padded(x: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (low, high), (low, high)))


def filtered(x: np.ndarray, gain: float = 1.0, stride: int = 1) -> np.ndarray:
    weight = np.einsum("kl,io->klio", TAPS * gain, np.eye(x.shape[1]))
    return correlate(x, weight, stride)


def with_zeros(x: np.ndarray) -> np.ndarray:
    out = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
    out[:, :, ::2, ::2] = x
    return out


def mapping(v: Variables, z: np.ndarray, c: np.ndarray | None) -> np.ndarray:
    x = unit(z.astype(float))
    if c is not None:
        x = np.concatenate([x, unit(dense(v, "LabelEmbed", c))], axis=1)
    for i in range(sum(name.startswith("Dense") for name in v) // 2):
        x = lrelu(dense(v, f"Dense{i}", x, 0.01))
    return x


def styled(v: Variables, place: str, x: np.ndarray, w: np.ndarray, *, is_rgb: bool) -> np.ndarray:
    """One modulated convolution, weights of every sample made on their own."""
    raw = v[f"{place}/weight"].astype(float)
    style = w @ (v[f"{place}/mod_weight"] / np.sqrt(w.shape[1])) + v[f"{place}/mod_bias"] + 1
    out = []
    for sample, s in zip(x, style, strict=True):
        weight = raw / np.sqrt(np.prod(raw.shape[:3])) * s[:, None]
        if not is_rgb:
            weight = weight / np.sqrt((weight**2).sum(axis=(0, 1, 2)) + 1e-8)
        if place.endswith("Conv0_up"):
            full = correlate(padded(with_zeros(sample[None])[:, :, :-1, :-1], 2, 2), weight)
            out.append(filtered(padded(full, 1, 1), gain=4.0))
        else:
            side = len(weight) // 2
            out.append(correlate(padded(sample[None], side, side), weight))
    return np.concatenate(out)


def synthesis(
    v: Variables, w_plus: np.ndarray, *, has_noise: bool = True, clamp: float | None = None
) -> np.ndarray:
    w_plus = w_plus.astype(float)
    x = np.repeat(v["4x4/Const/const"].astype(float), len(w_plus), axis=0)
    image, res, index = None, 4, 0
    while f"{res}x{res}/Const/const" in v or f"{res}x{res}/Conv1/weight" in v:
        below = x
        for layer in ["Conv"] if res == 4 else ["Conv0_up", "Conv1"]:
            place = f"{res}x{res}/{layer}"
            x = styled(v, place, x, w_plus[:, index], is_rgb=False)
            if has_noise:
                x = x + v[f"noise{index}"].astype(float) * float(v[f"{place}/noise_strength"])
            x = lrelu(x + v[f"{place}/bias"].astype(float)[:, None, None], clamp=clamp)
            index += 1
        if f"{res}x{res}/Skip/weight" in v:
            mixed = conv(v, f"{res}x{res}/Skip", below)
            x = (x + filtered(padded(with_zeros(mixed), 2, 1), gain=4.0)) / SQRT2
        place = f"{res}x{res}/ToRGB"
        if f"{place}/weight" in v:
            rgb = styled(v, place, x, w_plus[:, index], is_rgb=True)
            rgb = rgb + v[f"{place}/bias"][:, None, None]
            rgb = rgb if clamp is None else rgb.clip(-clamp, clamp)
            before = None if image is None else filtered(padded(with_zeros(image), 2, 1), gain=4.0)
            image = rgb if before is None else rgb + before
        res *= 2
    assert image is not None
    return image


def conv(
    v: Variables, place: str, x: np.ndarray, *, is_down: bool = False, clamp: float | None = None
) -> np.ndarray:
    weight = v[f"{place}/weight"].astype(float)
    weight = weight / np.sqrt(np.prod(weight.shape[:3]))
    side = len(weight) // 2
    if is_down:
        x = correlate(filtered(padded(x, side + 1, side + 1)), weight, stride=2)
    else:
        x = correlate(padded(x, side, side), weight)
    if f"{place}/bias" not in v:
        return x
    return lrelu(x + v[f"{place}/bias"].astype(float)[:, None, None], clamp=clamp)


def discriminator(
    v: Variables,
    image: np.ndarray,
    c: np.ndarray | None,
    *,
    group: int | None,
    clamp: float | None = None,
    lrmul: float = 0.1,
) -> np.ndarray:
    image, res = image.astype(float), image.shape[-1]
    is_skip = "4x4/FromRGB/weight" in v
    x = conv(v, f"{res}x{res}/FromRGB", image, clamp=clamp)
    while res > 4:
        place = f"{res}x{res}"
        y = conv(v, f"{place}/Conv0", x, clamp=clamp)
        y = conv(v, f"{place}/Conv1_down", y, is_down=True, clamp=clamp)
        if f"{place}/Skip/weight" in v:
            y = (y + conv(v, f"{place}/Skip", x, is_down=True)) / SQRT2
        x, res = y, res // 2
        if is_skip:
            image = filtered(padded(image, 1, 1), stride=2)
            x = x + conv(v, f"{res}x{res}/FromRGB", image)
    size = min(group or len(x), len(x))
    groups = x.reshape(size, -1, *x.shape[1:])
    deviation = np.sqrt(groups.var(axis=0) + 1e-8).mean(axis=(1, 2, 3))
    extra = np.tile(deviation, size)[:, None, None, None] * np.ones((1, 1, 4, 4))
    x = conv(v, "4x4/Conv", np.concatenate([x, extra], axis=1), clamp=clamp)
    x = dense(v, "Output", lrelu(dense(v, "4x4/Dense0", x)))
    if c is None:
        return x
    y = unit(dense(v, "LabelEmbed", c))
    for i in range(sum(name.startswith("Mapping") for name in v) // 2):
        y = lrelu(dense(v, f"Mapping{i}", y, lrmul))
    return (x * y).sum(axis=1, keepdims=True) / np.sqrt(y.shape[1])


def write_snapshot(
    path: Path, networks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Pickle (G, D, Gs) under the class name and numpy's old module names, as the era did."""
    module = ModuleType("dnnlib.tflib.network")
    Network = type("Network", (), {"__module__": "dnnlib.tflib.network"})
    vars(module)["Network"] = Network
    for name in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"):
        monkeypatch.setitem(sys.modules, name, module)

    def as_object(state: dict[str, Any]) -> object:
        network = Network()
        components = {name: as_object(part) for name, part in state["components"].items()}
        variables = [(k, v[()] if v.ndim == 0 else v) for k, v in state["variables"].items()]
        source = "raise SystemExit('source text was run')"
        vars(network).update(state)
        vars(network).update({
            "version": 4, "build_module_src": source, "components": components,
            "variables": variables,
        })  # fmt: skip
        return network

    data = pickle.dumps(tuple(as_object(state) for state in networks), protocol=3)
    path.write_bytes(data.replace(b"cnumpy._core.", b"cnumpy.core."))
    return path
