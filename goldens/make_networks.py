"""Writes networks.safetensors: what PyTorch computes for every model of the family, at width 1/8.

Run `python goldens/make_networks.py`.  The models are stated here once more, layer by
layer, from the paper (Krizhevsky, Sutskever, Hinton 2012), its code (config #145), Caffe's
prototxt files and torchvision; nothing is taken from the Rust tables they are compared with.
Everything is computed in f64 and stored in f32.  README.md says what each tensor is.
"""

import math
from collections import OrderedDict

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from common import dropout_mask, lrn_across_maps, lrn_same_map, uniform, write

WIDTH = 1 / 8
CLASSES = 10
SEED = 5
STEP = 3
SAMPLES = 64
FIRST_PARAMETER_SALT = 100


class CrossMapLrn(nn.Module):
    """Local response normalisation across maps; `alpha` multiplies the plain sum of squares."""

    def __init__(self, alpha, k, groups):
        super().__init__()
        self.constants = dict(size=5, alpha=alpha, beta=0.75, k=k, groups=groups)

    def forward(self, x):
        return lrn_across_maps(x, **self.constants)


class SameMapLrn(nn.Module):
    """The 2012 code's `rnorm`: a 5x5 window of the same map."""

    def forward(self, x):
        return lrn_same_map(x, size=5, alpha=1e-3 / 25, beta=0.75, k=1.0)


class Dropout(nn.Module):
    """Half of the elements become 0, by a mask that (seed, step, layer) determines."""

    # What the kept elements are multiplied by in training, and all of them in evaluation.
    kept_scale, evaluation_scale = None, None
    step = STEP

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        if not self.training:
            return x * self.evaluation_scale
        mask = dropout_mask(tuple(x.shape), 0.5, SEED, self.step, self.layer)
        return x * mask.to(x.dtype) * self.kept_scale


class ClassicDropout(Dropout):
    """The paper's (section 4.2): nothing is scaled in training, all is halved in evaluation."""

    kept_scale, evaluation_scale = 1.0, 0.5


class InvertedDropout(Dropout):
    """Caffe's and PyTorch's: what is kept is doubled in training."""

    kept_scale, evaluation_scale = 2.0, 1.0


def scaled(width):
    """Maps and hidden units at this width: the nearest multiple of 8, halves upwards."""
    return lambda full: max(8, math.floor(full * width / 8 + 0.5) * 8)


def original(width, classes):
    """The 2012 code, config #145.  224 pixels; the two columns are groups, also in the LRN."""
    maps = scaled(width)
    towers = dict(alpha=1e-4 / 5, k=2.0, groups=2)
    return [
        # The output size is rounded up, over zeros beyond the bottom and right: 224 -> 55.
        ("pad1", nn.ZeroPad2d((0, 3, 0, 3))),
        ("conv1", nn.Conv2d(3, maps(96), 11, stride=4)),
        ("lrn1", CrossMapLrn(**towers)),
        ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(maps(96), maps(256), 5, padding=2, groups=2)),
        ("relu2", nn.ReLU()),
        ("lrn2", CrossMapLrn(**towers)),
        ("rnorm2", SameMapLrn()),
        ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("conv3", nn.Conv2d(maps(256), maps(384), 3, padding=1)),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(maps(384), maps(384), 3, padding=1, groups=2)),
        ("relu4", nn.ReLU()),
        ("conv5", nn.Conv2d(maps(384), maps(256), 3, padding=1, groups=2)),
        ("pool5", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("relu5", nn.ReLU()),
        *fully_connected(maps, classes, ClassicDropout),
    ]


def paper(width, classes):
    """The paper's text.  227 pixels; alpha as printed, not divided by the window."""
    maps = scaled(width)
    towers = dict(alpha=1e-4, k=2.0, groups=2)
    return [
        ("conv1", nn.Conv2d(3, maps(96), 11, stride=4)),
        ("relu1", nn.ReLU()),
        ("lrn1", CrossMapLrn(**towers)),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("conv2", nn.Conv2d(maps(96), maps(256), 5, padding=2, groups=2)),
        ("relu2", nn.ReLU()),
        ("lrn2", CrossMapLrn(**towers)),
        ("pool2", nn.MaxPool2d(3, 2)),
        *last_convolutions(maps, nn.MaxPool2d(3, 2)),
        *fully_connected(maps, classes, ClassicDropout),
    ]


def caffe(width, classes):
    """Caffe's bvlc_alexnet.  227 pixels; LRN before pooling, its window blind to the groups."""
    maps = scaled(width)
    whole = dict(alpha=1e-4 / 5, k=1.0, groups=1)
    return [
        ("conv1", nn.Conv2d(3, maps(96), 11, stride=4)),
        ("relu1", nn.ReLU()),
        ("lrn1", CrossMapLrn(**whole)),
        ("pool1", nn.MaxPool2d(3, 2, ceil_mode=True)),
        ("conv2", nn.Conv2d(maps(96), maps(256), 5, padding=2, groups=2)),
        ("relu2", nn.ReLU()),
        ("lrn2", CrossMapLrn(**whole)),
        ("pool2", nn.MaxPool2d(3, 2, ceil_mode=True)),
        *last_convolutions(maps, nn.MaxPool2d(3, 2, ceil_mode=True)),
        *fully_connected(maps, classes, InvertedDropout),
    ]


def caffenet(width, classes):
    """Caffe's bvlc_reference_caffenet: bvlc_alexnet with pooling before LRN."""
    layers = caffe(width, classes)
    names = [name for name, _ in layers]
    for lrn, pool in [("lrn1", "pool1"), ("lrn2", "pool2")]:
        i, j = names.index(lrn), names.index(pool)
        layers[i], layers[j] = layers[j], layers[i]
    return layers


def last_convolutions(maps, pool5):
    """conv3 to pool5 of the two-column networks; conv3 alone sees both columns."""
    return [
        ("conv3", nn.Conv2d(maps(256), maps(384), 3, padding=1)),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(maps(384), maps(384), 3, padding=1, groups=2)),
        ("relu4", nn.ReLU()),
        ("conv5", nn.Conv2d(maps(384), maps(256), 3, padding=1, groups=2)),
        ("relu5", nn.ReLU()),
        ("pool5", pool5),
    ]


def fully_connected(maps, classes, dropout):
    """fc6 to fc8 of the two-column networks: dropout on the outputs of fc6 and fc7."""
    return [
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(maps(256) * 6 * 6, maps(4096))),
        ("relu6", nn.ReLU()),
        ("drop6", dropout(layer=0)),
        ("fc7", nn.Linear(maps(4096), maps(4096))),
        ("relu7", nn.ReLU()),
        ("drop7", dropout(layer=1)),
        ("fc8", nn.Linear(maps(4096), classes)),
    ]


def modern(width, classes):
    """One tower, no LRN.  224 pixels."""
    return single_tower(width, classes, [96, 256, 384, 384, 256], normalise=lambda i, maps: [])


def modern_batch_norm(width, classes):
    """`modern` with batch normalisation between each convolution and its ReLU."""
    return single_tower(
        width,
        classes,
        [96, 256, 384, 384, 256],
        normalise=lambda i, maps: [(f"bn{i}", nn.BatchNorm2d(maps))],
    )


def torchvision_alexnet(width, classes):
    """torchvision.models.alexnet ("One weird trick", Krizhevsky 2014).  224 pixels."""
    return single_tower(width, classes, [64, 192, 384, 256, 256], normalise=lambda i, maps: [])


def single_tower(width, classes, full_maps, normalise):
    """The networks without groups: dropout on the inputs of fc6 and fc7."""
    c1, c2, c3, c4, c5 = map(scaled(width), full_maps)
    hidden = scaled(width)(4096)
    return [
        ("conv1", nn.Conv2d(3, c1, 11, stride=4, padding=2)),
        *normalise(1, c1),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("conv2", nn.Conv2d(c1, c2, 5, padding=2)),
        *normalise(2, c2),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(3, 2)),
        ("conv3", nn.Conv2d(c2, c3, 3, padding=1)),
        *normalise(3, c3),
        ("relu3", nn.ReLU()),
        ("conv4", nn.Conv2d(c3, c4, 3, padding=1)),
        *normalise(4, c4),
        ("relu4", nn.ReLU()),
        ("conv5", nn.Conv2d(c4, c5, 3, padding=1)),
        *normalise(5, c5),
        ("relu5", nn.ReLU()),
        ("pool5", nn.MaxPool2d(3, 2)),
        ("average", nn.AdaptiveAvgPool2d((6, 6))),
        # On (N, C, 6, 6), so that the mask is counted channels-last.
        ("drop5", InvertedDropout(layer=0)),
        ("flatten", nn.Flatten()),
        ("fc6", nn.Linear(c5 * 6 * 6, hidden)),
        ("relu6", nn.ReLU()),
        ("drop6", InvertedDropout(layer=1)),
        ("fc7", nn.Linear(hidden, hidden)),
        ("relu7", nn.ReLU()),
        ("fc8", nn.Linear(hidden, classes)),
    ]


# name: (layers, pixels, images in the batch, parameters at full width with 1000 classes)
MODELS = {
    "original": (original, 224, 2, 60_965_224),
    "paper": (paper, 227, 2, 60_965_224),
    "caffe": (caffe, 227, 2, 60_965_224),
    "caffenet": (caffenet, 227, 2, 60_965_224),
    "modern": (modern, 224, 2, 62_378_344),
    "modern_batch_norm": (modern_batch_norm, 224, 4, 62_381_096),
    "torchvision": (torchvision_alexnet, 224, 2, 61_100_840),
}


def network(layers, width=WIDTH, classes=CLASSES):
    return nn.Sequential(OrderedDict(layers(width, classes)))


def starting_network(layers):
    """The narrow network in f64, its parameters drawn in PyTorch's order with one salt each."""
    model = network(layers).double()
    for salt, (name, parameter) in enumerate(model.named_parameters(), FIRST_PARAMETER_SALT):
        values = uniform(tuple(parameter.shape), salt, **parameter_range(name, parameter))
        parameter.data = torch.from_numpy(values).double()
    return model


def parameter_range(name, parameter):
    """He's uniform range for weights; batch normalisation's scale lies around 1."""
    if name.startswith("bn") and name.endswith(".weight"):
        return dict(scale=0.2, offset=1.0)
    if name.endswith(".bias"):
        return dict(scale=0.1)
    fan_in = parameter[0].numel()
    return dict(scale=math.sqrt(6 / fan_in))


def batch_of(pixels, images, salt):
    """Images in [-2, 2) and their labels."""
    x = torch.from_numpy(uniform((images, 3, pixels, pixels), salt, scale=2.0)).double()
    return x, torch.tensor([(n * 3 + 1) % CLASSES for n in range(images)])


def kink_margin(model, x):
    """How far the closest decision of a ReLU or a max pooling is from going the other way.

    In units of the layer's typical input.  Where rounding decides, gradients jump: networks in f32
    can only be compared on images that leave no decision to it.
    """
    margin = math.inf
    for layer in model:
        if isinstance(layer, nn.ReLU):
            margin = min(margin, float(x.abs().min() / x.square().mean().sqrt()))
        if isinstance(layer, nn.MaxPool2d):
            n, c = x.shape[:2]
            windows = F.unfold(x, layer.kernel_size, stride=layer.stride).view(n, c, 9, -1)
            first, second = windows.topk(2, dim=2).values.unbind(2)
            gaps = (first - second)[first > 0]
            margin = min(margin, float(gaps.min() / x.square().mean().sqrt()))
        x = layer(x)
    return margin


def losses_and_gradients(model, images, labels, step):
    """The training-mode loss of each image; the parameters receive the gradients of the mean."""
    model.train()
    for layer in model:
        if isinstance(layer, Dropout):
            layer.step = step
    model.zero_grad()
    losses = F.cross_entropy(model(images), labels, reduction="none")
    losses.mean().backward()
    return losses.detach()


def sampled(tensors):
    """Of each tensor its norm and SAMPLES elements, at (j * 7919) % length in PyTorch's order."""
    tensors = [tensor.detach().flatten() for tensor in tensors]
    samples = [tensor[torch.arange(SAMPLES) * 7919 % len(tensor)] for tensor in tensors]
    return torch.stack([tensor.norm() for tensor in tensors]), torch.stack(samples)


# Smallest kink margin accepted. Batch normalisation over four images needs more of it than 1e-6, where
# one order of summation turns a decision.
KINK_MARGIN = 4e-6


def one_pass(name, salt):
    """Logits in evaluation, then one training pass from the same parameters."""
    layers, pixels, images, _ = MODELS[name]
    model, batch = starting_network(layers), batch_of(pixels, images, salt)
    outputs = {"logits": model.eval()(batch[0])}
    outputs["losses"] = losses_and_gradients(model, *batch, step=STEP)
    gradients = sampled(p.grad for p in model.parameters())
    outputs["gradient_norms"], outputs["gradient_samples"] = gradients
    outputs |= {key: value for key, value in model.named_buffers() if "running" in key}
    return outputs


@torch.no_grad()
def margin_of_pass(model, images, step):
    """The kink margin of a training pass, leaving running statistics alone."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    for layer in model:
        if isinstance(layer, Dropout):
            layer.step = step
    margin = kink_margin(model, images)
    model.load_state_dict(before, strict=False)
    return margin


def image_salt(name):
    """The first salt whose images leave no decision to rounding."""
    layers, pixels, images, _ = MODELS[name]
    model = starting_network(layers)
    batches = ((salt, batch_of(pixels, images, salt)) for salt in range(1, 2000))
    return next(salt for salt, batch in batches if margin_of_pass(model, batch[0], STEP) >= KINK_MARGIN)


def check_parameter_counts():
    for name, (layers, _, _, expected) in MODELS.items():
        with torch.device("meta"):
            model = network(layers, width=1, classes=1000)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count == expected, (name, count, expected)


def check_against_torchvision():
    """At full width our `torchvision` and torchvision's own give the same logits."""
    theirs = torchvision.models.alexnet().eval()
    ours = network(torchvision_alexnet, width=1, classes=1000).eval()
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights))
    images = batch_of(224, 2, salt=1)[0].float()
    assert torch.equal(ours(images), theirs(images))


def description(name, salt):
    layers, pixels, images, _ = MODELS[name]
    parameters = [name for name, _ in network(layers).named_parameters()]
    return dict(name=name, pixels=pixels, images=images, salt=salt, parameters=parameters)


def main():
    check_parameter_counts()
    check_against_torchvision()
    tensors = {}
    salts = {name: image_salt(name) for name in MODELS}
    for name, salt in salts.items():
        tensors |= {f"{name}/{output}": values for output, values in one_pass(name, salt).items()}
    models = [description(name, salt) for name, salt in salts.items()]
    write("networks.safetensors", tensors, models=models)


if __name__ == "__main__":
    main()
