"""Writes lars.safetensors: three steps of layer-wise rates in PyTorch, on `modern` at width 1/8.

Run `python goldens/make_lars.py`.  Network, parameters and images are those of make_networks.py.
"""

import torch

import make_networks as networks
from common import write

NAME = "modern"
# Weights move by a thousandth of their norm; biases take the plain rate.
RATE, TRUST, MOMENTUM, DECAY, STEPS = 0.01, 0.1, 0.9, 5e-4, 3


def lars(model):
    """You, Gitman, Ginsburg 2017, algorithm 1: each layer's weights at a rate of their own."""
    velocities = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    @torch.no_grad()
    def step():
        for name, w in model.named_parameters():
            is_weight = w.dim() > 1
            local = TRUST * w.norm() / (w.grad.norm() + DECAY * w.norm()) if is_weight else 1.0
            velocities[name] = MOMENTUM * velocities[name] + RATE * local * (w.grad + DECAY * w)
            w.sub_(velocities[name])

    return step


def run(salt):
    """What the steps give, and how far the closest decision was from going the other way."""
    layers, pixels, images, _ = networks.MODELS[NAME]
    model, batch = networks.starting_network(layers), networks.batch_of(pixels, images, salt)
    update, losses, margin = lars(model), [], float("inf")
    for step in range(STEPS):
        margin = min(margin, networks.margin_of_pass(model, batch[0], step))
        losses.append(networks.losses_and_gradients(model, *batch, step=step).mean())
        update()
    norms, samples = networks.sampled(model.parameters())
    return dict(losses=torch.stack(losses), norms=norms, samples=samples), margin


def main():
    for salt in range(1, 2000):
        outputs, margin = run(salt)
        if margin >= 1e-6:
            break
    tensors = {f"{NAME}/{output}": values for output, values in outputs.items()}
    write("lars.safetensors", tensors, models=[networks.description(NAME, salt)])


if __name__ == "__main__":
    main()
