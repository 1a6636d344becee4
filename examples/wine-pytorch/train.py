"""Train a small network with PyTorch and save it as TorchScript. A plain SageMaker script: nothing here knows of Modelyard."""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import torch

TARGET, ID = "cultivar", "bottle_id"


class Network(torch.nn.Module):
    """Standardises its input, and answers probabilities: what serves it needs to know neither."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("deviation", features.std(dim=0))
        self.layers = torch.nn.Sequential(torch.nn.Linear(features.shape[1], 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

    def scaled(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.deviation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.layers(self.scaled(features)), dim=1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    options = parser.parse_args()

    with (options.train / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in (TARGET, ID)]
    x = np.array([[float(row[name]) for name in names] for row in rows])
    y = np.array([float(row[TARGET]) for row in rows])
    torch.manual_seed(1)
    features, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.long)
    network = Network(features)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for epoch in range(options.epochs):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network.layers(network.scaled(features)), labels)
        loss.backward()
        optimizer.step()
        if epoch % 100 == 99:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}", flush=True)
    torch.jit.trace(network.eval(), features[:2]).save(options.model_dir / "model.pt")


if __name__ == "__main__":
    main()
