"""Writes recipes.safetensors: ten steps of each published recipe, in PyTorch, at width 1/8.

Run `python goldens/make_recipes.py`.  A recipe is stated here as what it does at ten moments of its
run, read off the published logs and configuration files: the learning rate, and conv1's own.
Nothing is taken from the Rust tables it is compared with.  The networks, their parameters and
images are those of make_networks.py.

Rates are relative to a recipe's first one, and `base` stands for that: ten steps on one small batch
at 0.01 part in f32 and f64 by more than is compared here.
"""

import torch
from torch.nn import functional as F

from common import write
from make_networks import (
    MODELS,
    Dropout,
    batch_of,
    description,
    margin_of_pass,
    sampled,
    starting_network,
)


class PaperRule:
    """v = 0.9 v - decay * rate * w - rate * g; w = w + v (section 5; Caffe's SGDSolver is the same)."""

    def __init__(self, model, decay, bias_rate):
        self.model, self.decay, self.bias_rate = model, decay, bias_rate
        self.velocities = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    @torch.no_grad()
    def step(self, rate, conv1):
        for name, parameter in self.model.named_parameters():
            own = rate * (conv1 if name.startswith("conv1.") else 1.0)
            bias = name.endswith(".bias")
            own, decay = (own * self.bias_rate, 0.0) if bias else (own, self.decay)
            velocity = self.velocities[name]
            velocity.mul_(0.9).sub_(decay * own * parameter).sub_(own * parameter.grad)
            parameter.add_(velocity)


class PyTorchRule:
    """torch.optim.SGD; `bias_decay` says whether biases and batch normalisation decay as well."""

    def __init__(self, model, decay, bias_decay):
        named = list(model.named_parameters())
        plain = [p for name, p in named if p.dim() > 1 or bias_decay]
        undecayed = [p for name, p in named if p.dim() == 1 and not bias_decay]
        groups = [dict(params=plain, weight_decay=decay)]
        if undecayed:
            groups.append(dict(params=undecayed, weight_decay=0.0))
        self.optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)

    def step(self, rate, conv1):
        assert conv1 == 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()


def half_cosine(epoch):
    """modern: a warm-up over the first of 30 epochs, then half a cosine over the other 29."""
    warm = torch.optim.lr_scheduler.CosineAnnealingLR(
        torch.optim.SGD([torch.zeros(1)], lr=1.0), T_max=2900
    )
    # A step is a hundredth of an epoch; PyTorch's closed form, without its recurrence's rounding.
    warm.last_epoch = round((epoch - 1) * 100)
    return warm._get_closed_form_lr()[0]


# Each: network, base rate, update rule, label smoothing, and the ten moments: (epoch, the rate as a
# share of the first, conv1's factor).  Epochs count from 0: "epoch 25" of the 2012 log begins at 24.
RECIPES = {
    # layer-params-145.cfg: .01, .001 from epoch 25, .0001 from 51, .00001 from 79; conv1 1e-5 from
    # epoch 67, when the others had 1e-4, and 0 from 72; biases twice the rate.
    "original": ("original", 1e-3, lambda m: PaperRule(m, 5e-4, 2.0), 0.0, [
        (0.0, 1.0, 1.0), (23.99, 1.0, 1.0), (24.0, 0.1, 1.0), (49.99, 0.1, 1.0), (50.0, 0.01, 1.0),
        (65.99, 0.01, 1.0), (66.0, 0.01, 0.1), (70.99, 0.01, 0.1), (71.0, 0.01, 0.0),
        (78.0, 0.001, 0.0),
    ]),
    # A tenth when five epochs brought nothing: here validation stops improving after the second.
    "paper": ("paper", 1e-3, lambda m: PaperRule(m, 5e-4, 1.0), 0.0, [
        (epoch, 1.0 if epoch < 7 else 0.1, 1.0) for epoch in range(10)
    ]),
    # solver.prototxt: stepsize 100000 of batches of 256, which is 20 epochs; lr_mult 2 for biases.
    "caffe": ("caffe", 1e-3, lambda m: PaperRule(m, 5e-4, 2.0), 0.0, [
        (0.0, 1.0, 1.0), (10.0, 1.0, 1.0), (19.99, 1.0, 1.0), (20.0, 0.1, 1.0), (30.0, 0.1, 1.0),
        (39.99, 0.1, 1.0), (40.0, 0.01, 1.0), (59.99, 0.01, 1.0), (60.0, 0.001, 1.0),
        (89.0, 0.0001, 1.0),
    ]),
    "caffenet": ("caffenet", 1e-3, lambda m: PaperRule(m, 5e-4, 2.0), 0.0, [
        (0.0, 1.0, 1.0), (10.0, 1.0, 1.0), (19.99, 1.0, 1.0), (20.0, 0.1, 1.0), (30.0, 0.1, 1.0),
        (39.99, 0.1, 1.0), (40.0, 0.01, 1.0), (59.99, 0.01, 1.0), (60.0, 0.001, 1.0),
        (89.0, 0.0001, 1.0),
    ]),
    # train.py: StepLR(30, 0.1); weight decay 1e-4 of everything.
    "torchvision": ("torchvision", 1e-3, lambda m: PyTorchRule(m, 1e-4, True), 0.0, [
        (0.0, 1.0, 1.0), (10.0, 1.0, 1.0), (20.0, 1.0, 1.0), (29.99, 1.0, 1.0), (30.0, 0.1, 1.0),
        (45.0, 0.1, 1.0), (59.99, 0.1, 1.0), (60.0, 0.01, 1.0), (75.0, 0.01, 1.0),
        (89.99, 0.01, 1.0),
    ]),
    # Within the first epoch a step's rate is that at its end.
    "modern": ("modern_batch_norm", 5e-5, lambda m: PyTorchRule(m, 5e-4, False), 0.0, [
        (0.0, 0.01, 1.0), (0.49, 0.5, 1.0), (0.99, 1.0, 1.0), (1.0, 1.0, 1.0),
        *((epoch, half_cosine(epoch), 1.0) for epoch in (5.0, 10.0, 15.5, 20.25, 25.0, 29.99)),
    ]),
}

MARGIN = {name: 1.5e-6 if name == "modern" else 1e-6 for name in RECIPES}


def losses_and_gradients(model, images, labels, step, smoothing):
    model.train()
    for layer in model:
        if isinstance(layer, Dropout):
            layer.step = step
    model.zero_grad()
    loss = F.cross_entropy(model(images), labels, label_smoothing=smoothing)
    loss.backward()
    return loss.detach()


def trained(name, salt):
    """Losses, parameters after ten steps, and the smallest margin of a decision on the way."""
    network, base, rule, smoothing, moments = RECIPES[name]
    layers, pixels, images, _ = MODELS[network]
    model, batch = starting_network(layers), batch_of(pixels, images, salt)
    rule, losses, margin = rule(model), [], float("inf")
    for step, (_, share, conv1) in enumerate(moments):
        margin = min(margin, margin_of_pass(model, batch[0], step))
        if margin < MARGIN[name]:
            return None
        losses.append(losses_and_gradients(model, *batch, step=step, smoothing=smoothing))
        rule.step(base * share, conv1)
    norms, samples = sampled(model.parameters())
    return dict(losses=torch.stack(losses), norms=norms, samples=samples)


def main():
    tensors, recipes = {}, []
    for name, (network, base, _, _, moments) in RECIPES.items():
        found = ((salt, trained(name, salt)) for salt in range(1, 2000))
        salt, outputs = next((salt, outputs) for salt, outputs in found if outputs)
        print(name, "salt", salt)
        tensors |= {f"{name}/{output}": values for output, values in outputs.items()}
        epochs = [epoch for epoch, _, _ in moments]
        recipes.append(description(network, salt) | dict(name=name, base=base, epochs=epochs))
    write("recipes.safetensors", tensors, recipes=recipes)


if __name__ == "__main__":
    main()
