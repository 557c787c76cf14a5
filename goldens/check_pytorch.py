"""Whether torchvision's alexnet gives the same logits here as in PyTorch, and comes back to it.

    python goldens/check_pytorch.py ALEXNET IMAGES

ALEXNET is the program, IMAGES a folder with photographs, of which twenty are taken. A network of random weights is
saved as `torch.save` does (zip and legacy; 32 and 16 bits; alone and inside a checkpoint of a network trained on
several devices), predicted from with our program, converted to safetensors and .pth, and loaded strictly from both.
Needs torch, torchvision and safetensors. Prints the largest relative difference of each; exits with 1 above 1e-4.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image
from torchvision import models, transforms

IMAGES, TOLERANCE = 20, 1e-4


def photographs(folder):
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return found[:: max(1, len(found) // IMAGES)][:IMAGES]


def logits_in_pytorch(model, paths):
    """As torchvision's own weights come with: shorter side to 256, centre of 224."""
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    batch = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    with torch.no_grad():
        return model.eval()(batch)


def logits_here(alexnet, weights, paths):
    command = [alexnet, "predict", *map(str, paths), "--weights", str(weights), "--logits", "--format", "jsonl"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    by_path = {line["path"]: line["logits"] for line in map(json.loads, run.stdout.splitlines())}
    return torch.tensor([by_path[str(path)] for path in paths]), run.stderr.strip()


def saved_forms(model, folder):
    """Name, file and the state dict that is in it."""
    state = model.state_dict()
    half = {name: tensor.half() for name, tensor in state.items()}
    checkpoint = {
        "epoch": 3,
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).state_dict(),
    }
    for name, what, values, zipped in [
        ("zip-f32", state, state, True),
        ("legacy-f32", state, state, False),
        ("zip-f16", half, half, True),
        ("legacy-f16", half, half, False),
        ("checkpoint", checkpoint, state, True),
        ("bf16", {n: t.bfloat16() for n, t in state.items()}, {n: t.bfloat16() for n, t in state.items()}, True),
    ]:
        path = folder / f"{name}.pth"
        torch.save(what, path, _use_new_zipfile_serialization=zipped)
        yield name, path, values


def main():
    alexnet, images = sys.argv[1:]
    paths, worst = photographs(images), 0.0
    torch.manual_seed(0)
    model = models.alexnet()

    def report(name, ours, theirs, note=""):
        nonlocal worst
        difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        worst = max(worst, difference)
        print(f"{name}: {difference:.2e} of logits up to {theirs.abs().max():.3f}, {len(theirs)} photographs {note}")

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, path, state in saved_forms(model, folder):
            theirs_model = models.alexnet()
            theirs_model.load_state_dict({key: tensor.float() for key, tensor in state.items()})
            theirs = logits_in_pytorch(theirs_model, paths)
            ours, note = logits_here(alexnet, path, paths)
            report(name, ours, theirs, f"({note.split(': ', 1)[-1]})")
            for back in ["back.safetensors", "back.pth"]:
                subprocess.run([alexnet, "convert", path, folder / back], check=True, capture_output=True)
            again = models.alexnet()
            again.load_state_dict(safetensors.torch.load_file(folder / "back.safetensors"), strict=True)
            report(f"{name} -> safetensors", logits_in_pytorch(again, paths), theirs)
            again.load_state_dict(torch.load(folder / "back.pth", weights_only=True), strict=True)
            report(f"{name} -> .pth", logits_in_pytorch(again, paths), theirs)
            ours, note = logits_here(alexnet, folder / "back.pth", paths)
            report(f"{name} -> .pth, here", ours, theirs)
    print(f"worst: {worst:.2e}")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
