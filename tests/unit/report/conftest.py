"""A whole small project on disk: real images, real networks, real codes, plausible figures."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from stylealign.checkpoints import save_model
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.folders import finish_folder
from stylealign.data.labels import parse_schema
from stylealign.data.prepare import prepare
from stylealign.data.procedural import Domain, label_schema
from stylealign.data.shards import fingerprint, plan_shards, write_shard
from stylealign.data.sources import ProceduralSource
from stylealign.data.tables import image_table
from stylealign.images import encode_png
from stylealign.inversion import Inversion, invert
from stylealign.models import Model
from stylealign.report import ChildSources, Gate, Sources
from stylealign.tensors import to_float, to_uint8
from stylealign.translation import translate
from tests.tiny import tiny_model

DOMAINS: dict[str, tuple[Domain, int]] = {
    "people": ("people", 1),
    "cats": ("cats", 2),
    "cats_test": ("cats", 3),
}
MIN_PSNR = 9.0


@pytest.fixture
def sources(project: Path) -> Sources:
    return project_sources(project)


@pytest.fixture
def open_sources() -> Callable[..., Sources]:
    """The sources of a page about a folder; a test may change any of them."""
    return project_sources


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose every stage has run, at 16 pixels."""
    folder = tmp_path_factory.mktemp("project")
    parent = tiny_model(noise=False, domain="people")
    build_project(folder, parent, nudge, num_images=24, num_steps=4)
    return folder


@pytest.fixture
def project(finished_project: Path, tmp_path: Path) -> Path:
    """A copy of the finished project that a test may break."""
    return Path(shutil.copytree(finished_project, tmp_path / "project"))


def project_sources(root: Path, **changes: Any) -> Sources:
    """The sources of a page about the project."""
    artifacts = root / "artifacts"
    settings: dict[str, Any] = {
        "title": "People to cats",
        "prepared": {name: artifacts / "prepare" / name for name in DOMAINS},
        "parent_dataset": "people",
        "parent_model": root / "models" / "people",
        "codes": artifacts / "invert",
        "children": {
            "cats": ChildSources(
                dataset="cats",
                model=artifacts / "train_child" / "cats",
                translated=artifacts / "translate" / "cats",
                transferred=artifacts / "transfer" / "cats",
                test="cats_test",
            )
        },
        "evaluation": root / "metrics" / "evaluate.json",
        "analysis": root / "metrics" / "analyze.json",
        "gate": Gate(max_fd_ratio=0.5, min_accepted=0.2, min_gain=0.0),
        "min_psnr": MIN_PSNR,
        "params": {"invert": {"space": "z_plus", "num_steps": 4}, "report": {"seed": 0}},
        "num_samples": 8,
        "seed": 0,
    }
    return Sources(**(settings | changes))


def build_project(
    root: Path,
    parent: Model,
    make_child: Callable[[Model, ImageDataset], Model],
    *,
    num_images: int,
    num_steps: int,
) -> None:
    """Run a small version of every stage."""
    artifacts, side = root / "artifacts", parent.config.resolution
    for name, (domain, seed) in DOMAINS.items():
        prepare(
            ProceduralSource(domain, num_images, seed=seed, resolution=max(32, side)),
            artifacts / "prepare" / name,
            resolution=side,
            schema=parse_schema(label_schema(domain)),
            fractions={"train": 0.8, "val": 0.1, "test": 0.1},
            seed=1,
            shard_size=64,
            max_rejected_fraction=0.0,
            near_duplicate_bits=0,
            domain=domain,
        )
    people = open_dataset(artifacts / "prepare" / "people")
    save_model(parent, root / "models" / "people")
    child = make_child(parent, open_dataset(artifacts / "prepare" / "cats"))
    save_model(child, artifacts / "train_child" / "cats")
    write_history(artifacts / "train_child" / "cats" / "history.json")
    write_standings(artifacts / "train_child" / "cats" / "standings.json")
    rows = people.table("train")[["id", "split"]].assign(sha256=lambda table: table["id"])
    found = invert(
        to_float(people.images(rows["id"].tolist())), parent,
        space="z_plus", num_steps=num_steps, min_psnr=MIN_PSNR,
    )  # fmt: skip
    write_codes(artifacts / "invert", rows, found, people)
    write_drawn(artifacts, rows, found, people, child)
    write_figures(root / "metrics")


def nudge(parent: Model, _images: ImageDataset) -> Model:
    """A child without training: the parent with weights that moved a little."""
    torch.manual_seed(1)
    child = Model.new(parent.config)
    child.generator.load_state_dict(parent.generator.state_dict())
    with torch.no_grad():
        for weight in child.generator.synthesis.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    update = {"domain": "cats", "id": "", "parent_id": parent.config.id, "kimg": 12.0}
    child.config = parent.config.model_copy(update=update)
    return child


def write_history(path: Path) -> None:
    """Losses of twelve ticks."""
    rng = np.random.default_rng(0)
    steps = np.arange(1, 13)
    losses = {"G": 1.2 - 0.4 / steps, "D": 0.7 + 0.3 / steps, "r1": 0.02 / steps,
              "structure": 0.3 * (1 - np.exp(-steps / 4))}  # fmt: skip
    noisy = {name: values * rng.normal(1, 0.02, 12) for name, values in losses.items()}
    history = [
        {"kimg": float(step)} | {name: float(noisy[name][step - 1]) for name in noisy}
        for step in steps
    ]
    path.write_text(json.dumps(history), "utf-8")


def write_standings(path: Path) -> None:
    """Three snapshots, of which the second was kept."""
    figures = zip((4.0, 8.0, 12.0), (60.0, 41.0, 40.0), (0.9, 0.8, 0.6), strict=True)
    rows = [
        {"kimg": kimg, "fd_lite2_250": fd, "change": 1 - likeness, "likeness": likeness,
         "weight_distance.mapping": 0.1}
        for kimg, fd, likeness in figures
    ]  # fmt: skip
    write_json(path, {"kept_kimg": 8.0, "choose": "rule", "settings": {}, "standings": rows})


def write_codes(folder: Path, rows: pd.DataFrame, found: Inversion, people: ImageDataset) -> None:
    """Codes as stage `invert` leaves them."""
    folder.mkdir(parents=True)
    plan = plan_shards(folder, rows, fingerprint=fingerprint(engine=1), shard_size=10_000)
    (shard,) = plan.todo
    codes = found.latents.codes.flatten(1).numpy()
    values = pa.array(codes.ravel(), pa.float32())
    size = len(codes)
    columns = {
        "id": list(shard.ids),
        "space": [found.latents.space] * size,
        "code": pa.FixedSizeListArray.from_arrays(values, codes.shape[1]),
        "psnr": found.psnr.numpy(),
        "perceptual": found.perceptual.numpy(),
        "converged": found.converged.numpy(),
        "model_id": [found.latents.model_id] * size,
    }
    write_shard(folder, shard, pa.table(columns))
    lineage = {"model": found.latents.model_id, "data": people.content_hash}
    finish_folder(plan, kind="codes", lineage=lineage)


def write_drawn(
    artifacts: Path, rows: pd.DataFrame, found: Inversion, people: ImageDataset, child: Model
) -> None:
    """Translated and transferred sets of the child."""
    rng = np.random.default_rng(2)
    pictures = [encode_png(image) for image in to_uint8(translate(found.latents, child))]
    table = people.table("train")
    labels = [name for name in table.columns if name.startswith("label.")]
    frame = table[["id", "split", *labels]].assign(parent_id=table["id"])
    lineage = {"child": child.config.id, "data": people.content_hash,
               "labels_not_transferable": {"smile": "lost", "hair_color": "not there"}}  # fmt: skip
    confidence = {
        f"confidence.{name}": 0.33 if name == "hair_color" else rng.beta(6, 2, len(frame))
        for name in people.schema
    }
    mean = pd.DataFrame({n: v for n, v in confidence.items() if "hair" not in n}).mean(axis=1)
    reasons = [
        "; ".join(reason for is_low, reason in (
            (psnr < MIN_PSNR, f"reconstruction below {MIN_PSNR:g} dB"),
            (sure < 0.66, "confidence below 0.66"),
        ) if is_low)
        for psnr, sure in zip(found.psnr.tolist(), mean, strict=True)
    ]  # fmt: skip
    judged = frame.assign(
        **confidence, reconstruction=found.psnr.numpy().astype(float), confidence=mean,
        accepted=[not reason for reason in reasons], reject_reason=reasons,
    )  # fmt: skip
    stages: tuple[tuple[str, Literal["translated", "transferred"], pd.DataFrame], ...] = (
        ("translate", "translated", frame),
        ("transfer", "transferred", judged),
    )
    for stage, kind, data in stages:
        folder = artifacts / stage / "cats"
        folder.mkdir(parents=True)
        plan = plan_shards(folder, rows, fingerprint=fingerprint(stage=stage), shard_size=10_000)
        (shard,) = plan.todo
        write_shard(folder, shard, image_table(data, pictures, people.schema))
        finish_folder(
            plan, kind=kind, lineage=lineage, domain="cats",
            resolution=people.resolution, label_schema=people.schema,
        )  # fmt: skip


def write_figures(folder: Path) -> None:
    """Metrics files with figures that look like measured ones."""
    folder.mkdir()
    names = ("yaw", "pitch", "smile", "eye_openness", "glasses", "tone")
    scores = ((0.31, 0.62, 0.88), (0.22, 0.47, 0.81), (0.08, 0.19, 0.64), (0.15, 0.2, 0.7),
              (0.61, 0.83, 0.98), (0.9, 0.91, 0.92))  # fmt: skip
    labels: dict[str, Any] = {
        name: label_figures(*score) for name, score in zip(names, scores, strict=True)
    }
    labels["smile"] |= {"transferable": False, "not_transferable_because": (
        "the cycle through the child agrees 0.11 [0.02, 0.20] with the label, the parent's own "
        "cycle 0.74")}  # fmt: skip
    labels["hair_color"] = dict.fromkeys(labels["yaw"]) | {
        "transferable": False, "control": True, "routes": {}, "score": "", "source_variant": "",
        "reason": "real images of the child have no such label", "not_transferable_because": (
            "two readers of the transferred images agree 0.79 on images that the child draws, but "
            "0.44 on real ones: what they learned of the label is not seen in real images"),
    }  # fmt: skip
    references = {"parent": {"fd_lite2_500": 121.0, "kid_lite2_500": 0.0711,
                             "ppl_lite2_blocks_500": 34.9},
                  "real": {"fd_lite2_500": 9.7, "kid_lite2_500": 0.0001}}  # fmt: skip
    child = {"references": references, "fd_lite2_500": 38.21, "kid_lite2_500": 0.0213,
             "ppl_lite2_blocks_500": 41.2,
             "precision_lite2_500": 0.61, "recall_lite2_500": 0.44, "labels": labels,
             "confidence": {name: calibration_figures() for name in names}}  # fmt: skip
    write_json(folder / "evaluate.json", {"cats": child})
    agreements = (0.71, 0.58, 0.33, 0.41, 0.69, 0.93)
    equal_z = {
        name: {"agreement": value, "low": value - 0.04, "high": value + 0.03,
               "parent_ceiling": 0.98, "child_ceiling": 0.95}
        for name, value in zip(names, agreements, strict=True)
    }  # fmt: skip
    groups = {
        f"{kind} {side}x{side}": {"weight_distance": distance / side**0.2,
                                  "reset_perceptual": distance * 0.7, "reset_fd": 90 * distance}
        for side in (4, 8, 16, 32)
        for kind, distance in (("conv", 0.31), ("affine", 0.06), ("torgb", 0.09))
    }  # fmt: skip
    directions = {name: {"parent_slope": 0.9, "child_slope": 0.9 * value} for name, value in
                  zip(names, agreements, strict=True)}  # fmt: skip
    analysis = {"equal_z": equal_z, "groups": groups, "directions": directions}
    write_json(folder / "analyze.json", {"cats": analysis})


def label_figures(source: float, transfer: float, oracle: float) -> dict[str, object]:
    """One label of metrics/evaluate.json."""
    gain, headroom = transfer - source, oracle - source
    is_open = headroom > 0.1
    closed = gain / headroom if is_open else None
    reason = f"oracle - source_only is {headroom:.3f}, under 0.05: there is no gap to close"
    return {
        "gap_closed": closed,
        "low": closed - 0.08 if closed is not None else None,
        "high": closed + 0.07 if closed is not None else None,
        "reason": None if is_open else reason,
        "gain": gain, "gain_low": gain - 0.03, "gain_high": gain + 0.03,
        "source_only": source, "transfer": transfer, "oracle": oracle,
        "score": "balanced_accuracy" if oracle > 0.9 else "1 - mae / mae_constant",
        "source_variant": "coral", "num_test": 1000, "num_seeds": 5,
        "routes": {
            "data": {"score": transfer, "gain": gain},
            "filtered": {"score": transfer + 0.02, "gain": gain + 0.02},
            "latent": {"score": transfer - 0.1, "gain": gain - 0.1},
        },
    }  # fmt: skip


def calibration_figures() -> dict[str, object]:
    """Reliability in both domains."""
    confidence = np.linspace(0.2, 0.98, 15)
    shifts: Sequence[tuple[str, float]] = (("parent", 0.0), ("child", 0.07))
    return {
        domain: {
            "ece": 0.02 + shift, "brier": 0.14, "auroc": 0.81, "num_rows": 1000,
            "reliability": {
                "confidence": confidence.tolist(),
                "accuracy": (confidence - shift + 0.02 * np.sin(9 * confidence)).tolist(),
                "num_rows": [66] * 15,
            },
        }
        for domain, shift in shifts
    }  # fmt: skip


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), "utf-8")
