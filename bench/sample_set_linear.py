#!/usr/bin/env python3
"""How far a linear model on pixels gets on a folder of images.

Logistic regression on images shrunk to 32 x 32 x 3, in PyTorch. On the built-in sample set
(`alexnet data sample`) it shows that the problem is not solved by where which colour is.

    python sample_set_linear.py FOLDER
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torchvision import datasets, transforms


def load(folder, side):
    """All images of a split: (N, side * side * 3) from 0 to 1, and their labels (N)."""
    steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor()]
    images, labels = zip(*datasets.ImageFolder(folder, transforms.Compose(steps)))
    return torch.stack(images).flatten(1), torch.tensor(labels)


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="holds train/<class>/ and val/<class>/")
    parser.add_argument("--side", type=int, default=32, help="pixels a side")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    args = parser.parse_args()

    torch.manual_seed(0)
    images, labels = load(args.folder / "train", args.side)
    val_images, val_labels = load(args.folder / "val", args.side)
    mean, std = images.mean(0), images.std(0)
    images, val_images = (images - mean) / std, (val_images - mean) / std

    model = nn.Linear(images.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=args.weight_decay)
    best = 0.0
    for _ in range(args.epochs):
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        best = max(best, accuracy(model, val_images, val_labels))
    print(f"training accuracy            {accuracy(model, images, labels):.3f}")
    print(f"validation accuracy, last    {accuracy(model, val_images, val_labels):.3f}")
    print(f"validation accuracy, best    {best:.3f}")
    print(f"chance                       {1 / model.out_features:.3f}")


if __name__ == "__main__":
    main()
