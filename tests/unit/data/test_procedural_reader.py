"""Acceptance of the procedural domains: a small reader finds every attribute in the pictures."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stylealign.data.procedural import draw_attributes, label_schema, render

CONTINUOUS = ["yaw", "pitch", "smile", "eye_openness"]
OWN_LABEL = {"people": "hair_color", "cats": "eye_color"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("domain", ["people", "cats"])
def test_a_small_reader_reads_every_attribute(domain, capsys):
    train, test = (draw_attributes(domain, num, seed=seed) for num, seed in ((8000, 1), (2000, 2)))

    scores = _read(domain, train, test, num_steps=900)

    with capsys.disabled():
        sys.stdout.write(f"\n{domain} { ({name: round(scores[name], 3) for name in scores}) }\n")
    assert min(scores[name] for name in CONTINUOUS) >= 0.9
    assert min(scores["glasses"], scores["tone"], scores[OWN_LABEL[domain]]) >= 0.97


def _read(domain, train, test, *, num_steps):
    """Train a small network; correlation of continuous labels, balanced accuracy of classes."""
    schema = label_schema(domain)
    classes = {name: spec["values"] for name, spec in schema.items() if spec["type"] == "class"}
    sizes = [len(CONTINUOUS), *(len(values) for values in classes.values())]
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, sum(sizes))),
    )
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, num_steps)
    pictures, numbers, codes = _tensors(domain, train, classes)
    for _ in range(num_steps):
        rows = torch.randint(len(pictures), (128,))
        read, *logits = network(pictures[rows]).split(sizes, dim=1)
        loss = functional.mse_loss(read, numbers[rows])
        for logit, code in zip(logits, codes, strict=True):
            loss = loss + functional.cross_entropy(logit, code[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    pictures, numbers, codes = _tensors(domain, test, classes)
    with torch.inference_mode():
        read, *logits = network(pictures).split(sizes, dim=1)
    scores = {
        name: float(np.corrcoef(read[:, column], numbers[:, column])[0, 1])
        for column, name in enumerate(CONTINUOUS)
    }
    for name, logit, code in zip(classes, logits, codes, strict=True):
        recalls = [(logit.argmax(1)[code == k] == k).float().mean() for k in code.unique()]
        scores[name] = float(torch.stack(recalls).mean())
    return scores


def _tensors(domain, attributes, classes):
    pictures = torch.from_numpy(render(domain, attributes, 32)).permute(0, 3, 1, 2) / 127.5 - 1
    values = attributes[CONTINUOUS].to_numpy(np.float32)
    numbers = torch.from_numpy((values - values.mean(0)) / values.std(0))
    codes = [
        torch.tensor([values.index(value) for value in attributes[name]])
        for name, values in classes.items()
    ]
    return pictures, numbers, codes
