"""Trains a network in PyTorch by the recipe of the same name as `alexnet train`, to lay the curves side by side.

    python bench/train_torch.py DATA --out results.csv --width 0.25 --image-size 112 --epochs 20 --seed 0

`--recipe modern` or `torchvision` (references/classification's: a tenth every third of the run, decay of everything,
batches of 256; `--batch-size 32` is what one of its eight processes sees). DATA holds train/, validation/ and test/:
the last weights are measured on the latter, printed as JSON. Same network, initial values, preprocessing, augmentation, update and schedule;
another generator of random numbers, so runs agree as two seeds of one program do. Needs torch and torchvision.
"""

import argparse
import csv
import functools
import json
import math
import time
from pathlib import Path

import torch
from torch.nn import functional as F
from torchvision import datasets, transforms

import networks

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLUMNS = ["epoch", "time_s", "train/loss", "val/loss"]
COLUMNS += ["metrics/accuracy_top1", "metrics/accuracy_top5"]


# Photographs are decoded once, and the processes that vary them inherit them.
read_image = functools.cache(datasets.folder.default_loader)


def loaders(arguments):
    """torchvision's reference preprocessing, of train/, validation/ and test/."""
    size = arguments.image_size
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    varied = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), *normalise]
    plain = [transforms.Resize(math.ceil(size * 8 / 7)), transforms.CenterCrop(size), *normalise]

    def loader(split, steps, shuffle):
        images = datasets.ImageFolder(arguments.data / split, transforms.Compose(steps), loader=read_image)
        for path, _ in images.samples:
            read_image(path)
        workers = arguments.workers
        keep = workers > 0
        return torch.utils.data.DataLoader(
            images, arguments.batch_size, shuffle, num_workers=workers, persistent_workers=keep
        )

    return loader("train", varied, True), loader("validation", plain, False), loader("test", plain, False)


def learning_rate(arguments, position, steps):
    """Linear warm-up over one epoch, then half a cosine to zero; torchvision's: a tenth every third of the run.
    `position` in epochs."""
    if arguments.recipe == "torchvision":
        return arguments.lr * 0.1 ** math.floor(3 * math.floor(position) / arguments.epochs)
    if position < 1:
        return arguments.lr * (position + 1 / steps)
    return arguments.lr * (1 + math.cos(math.pi * (position - 1) / (arguments.epochs - 1))) / 2


def optimizer(model, arguments):
    """`modern` has no decay on biases and batch normalisation."""
    if arguments.recipe == "torchvision":
        return torch.optim.SGD(model.parameters(), lr=arguments.lr, momentum=0.9, weight_decay=1e-4)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=arguments.lr, momentum=0.9)


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    loss, top1, top5, images = 0.0, 0, 0, 0
    for x, labels in loader:
        logits = model(x)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        ranked = logits.topk(5).indices == labels[:, None]
        top1, top5 = top1 + ranked[:, 0].sum().item(), top5 + ranked.any(1).sum().item()
        images += len(labels)
    return loss / images, top1 / images, top5 / images


def train_epoch(model, loader, sgd, arguments, epoch):
    model.train()
    total, images = 0.0, 0
    for step, (x, labels) in enumerate(loader):
        for group in sgd.param_groups:
            group["lr"] = learning_rate(arguments, epoch + step / len(loader), len(loader))
        loss = F.cross_entropy(model(x), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        total, images = total + loss.item() * len(labels), images + len(labels)
    return total / images


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=["modern", "torchvision"], default="modern")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, help="default: 32 for modern, 256 for torchvision")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.batch_size = arguments.batch_size or {"modern": 32, "torchvision": 256}[arguments.recipe]
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    train, validation, test = loaders(arguments)
    networks_by_recipe = {"modern": networks.modern, "torchvision": networks.torchvision_alexnet}
    model = networks_by_recipe[arguments.recipe](len(train.dataset.classes), width=arguments.width)
    sgd, begin = optimizer(model, arguments), time.time()
    with arguments.out.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for epoch in range(arguments.epochs):
            train_loss = train_epoch(model, train, sgd, arguments, epoch)
            found, time_s = evaluate(model, validation), time.time() - begin
            rows.writerow([epoch + 1, time_s, train_loss, *found])
            file.flush()
    loss, top1, top5 = evaluate(model, test)
    print(json.dumps({"images": len(test.dataset), "loss": loss, "top1_accuracy": top1, "top5_accuracy": top5}))


if __name__ == "__main__":
    main()
