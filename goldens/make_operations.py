"""Writes operations.safetensors: what PyTorch computes for every operation of the network.

Run `python goldens/make_operations.py`.  Everything is computed in f64 and stored in f32,
as `<case>/<output>` in PyTorch's order.  The metadata key `cases` lists, for each case, its
operation, its parameters and the recipe of its inputs (see common.uniform).
"""

import torch
from torch.nn import functional as F

from common import dropout_mask, lrn_across_maps, lrn_same_map, uniform, write

SALTS = {
    "x": 1,
    "weights": 2,
    "bias": 3,
    "d_y": 4,
    "scale": 5,
    "shift": 6,
    "running_mean": 7,
    "running_variance": 8,
    "gradients": 9,
}


class Case:
    """One operation on one set of inputs: draws the inputs and collects the outputs."""

    def __init__(self, operation, name, **parameters):
        self.description = dict(name=name, operation=operation, parameters=parameters, inputs={})
        self.drawn, self.outputs = {}, {}

    def draw(self, name, shape, **recipe):
        """The input `name`, in f64 and ready for autograd."""
        recipe = dict(salt=SALTS[name], scale=1.0, offset=0.0, levels=0) | recipe
        self.description["inputs"][name] = dict(shape=list(shape)) | recipe
        values = torch.from_numpy(uniform(shape, **recipe)).double()
        self.drawn[name] = values.requires_grad_()
        return values

    def backward(self, y):
        """Draws d_y and returns the gradient of every input drawn before it."""
        inputs = dict(self.drawn)
        d_y = self.draw("d_y", y.shape)
        return dict(zip(inputs, torch.autograd.grad(y, inputs.values(), d_y)))

    def forward_and_backward(self, y):
        """Stores y and, for every input `i` drawn so far, d_i."""
        self.outputs["y"] = y
        self.outputs |= {f"d_{name}": gradient for name, gradient in self.backward(y).items()}
        return self


def convolution(name, x, weights, stride=1, pad=0, groups=1, rounding="floor"):
    case = Case("convolution", name, stride=stride, pad=pad, groups=groups, rounding=rounding)
    x, weights = case.draw("x", x), case.draw("weights", weights)
    bias = case.draw("bias", weights.shape[:1])
    if rounding == "ceil":
        # The 2012 code's: the last window sticks out at the bottom and right, over zeros.
        assert pad == 0
        over = [(weights.shape[2] - size) % stride for size in x.shape[2:]]
        x = F.pad(x, (0, over[1], 0, over[0]))
    y = F.conv2d(x, weights, bias, stride, pad, groups=groups)
    case.outputs["y_relu"] = y.relu()
    return case.forward_and_backward(y)


def linear(name, batch, inputs, outputs):
    case = Case("linear", name)
    x, weights = case.draw("x", (batch, inputs)), case.draw("weights", (outputs, inputs))
    y = F.linear(x, weights, case.draw("bias", (outputs,)))
    case.outputs["y_relu"] = y.relu()
    return case.forward_and_backward(y)


def relu(name, shape):
    case = Case("relu", name)
    return case.forward_and_backward(case.draw("x", shape).relu())


def tanh(name, shape):
    case = Case("tanh", name)
    return case.forward_and_backward(case.draw("x", shape, scale=4.0).tanh())


def sigmoid(name, shape):
    case = Case("sigmoid", name)
    return case.forward_and_backward(case.draw("x", shape, scale=4.0).sigmoid())


def max_pool(name, shape, size, stride, rounding="floor", levels=0):
    case = Case("max_pool", name, size=size, stride=stride, rounding=rounding)
    x = case.draw("x", shape, levels=levels)
    return case.forward_and_backward(F.max_pool2d(x, size, stride, ceil_mode=rounding == "ceil"))


def average_pool(name, shape, output):
    case = Case("average_pool", name)
    return case.forward_and_backward(F.adaptive_avg_pool2d(case.draw("x", shape), output))


def lrn_maps(name, shape, **constants):
    case = Case("lrn_across_maps", name, **constants)
    return case.forward_and_backward(lrn_across_maps(case.draw("x", shape, scale=3.0), **constants))


def lrn_map(name, shape, **constants):
    case = Case("lrn_same_map", name, **constants)
    return case.forward_and_backward(lrn_same_map(case.draw("x", shape, scale=3.0), **constants))


def draw_batch_norm(case, shape, mean):
    channels = shape[1:2]
    return (
        case.draw("x", shape, scale=2.0, offset=mean),
        case.draw("scale", channels, scale=0.5, offset=1.0),
        case.draw("shift", channels),
        case.draw("running_mean", channels).detach(),
        case.draw("running_variance", channels, scale=0.5, offset=1.0).detach(),
    )


def batch_norm_train(name, shape, mean=0.0, momentum=0.1, epsilon=1e-5):
    case = Case("batch_norm_train", name, momentum=momentum, epsilon=epsilon)
    x, scale, shift, running_mean, running_variance = draw_batch_norm(case, shape, mean)
    y, batch_mean, inverse_deviation = torch.native_batch_norm(
        x, scale, shift, running_mean, running_variance, True, momentum, epsilon
    )
    d_y = case.draw("d_y", shape)
    d_x, d_scale, d_shift = torch.autograd.grad(y, (x, scale, shift), d_y)
    case.outputs = dict(
        y=y,
        statistics=torch.cat([batch_mean, inverse_deviation]),
        running=torch.cat([running_mean, running_variance]),
        d_x=d_x,
        d_affine=torch.cat([d_scale, d_shift]),
    )
    return case


def batch_norm_evaluate(name, shape, epsilon=1e-5):
    case = Case("batch_norm_evaluate", name, momentum=0.1, epsilon=epsilon)
    x, scale, shift, mean, variance = draw_batch_norm(case, shape, mean=0.0)
    case.outputs["y"] = F.batch_norm(x, mean, variance, scale, shift, training=False, eps=epsilon)
    return case


def dropout(name, shape, rate, kept_scale, **key):
    case = Case("dropout", name, rate=rate, kept_scale=kept_scale, **key)
    case.outputs["y"] = case.draw("x", shape) * dropout_mask(shape, rate, **key) * kept_scale
    return case


def scale(name, shape, factor):
    case = Case("scale", name, factor=factor)
    case.outputs["y"] = case.draw("x", shape) * factor
    return case


def softmax_cross_entropy(name, labels, classes, largest, smoothing=0.0):
    case = Case("softmax_cross_entropy", name, labels=labels, smoothing=smoothing)
    logits = case.draw("x", (len(labels), classes), scale=largest)
    losses = F.cross_entropy(
        logits, torch.tensor(labels), reduction="none", label_smoothing=smoothing
    )
    (d_logits,) = torch.autograd.grad(losses.mean(), logits)
    case.outputs = dict(losses=losses, d_logits=d_logits)
    return case


RATES = [0.1] * 5 + [0.01] * 5
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


def sgd(rule, length):
    """Ten updates of one vector; the rate falls after the fifth."""
    case = Case(
        rule.__name__,
        rule.__name__,
        learning_rates=RATES,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
    )
    weights = case.draw("weights", (length,)).detach()
    gradients = case.draw("gradients", (len(RATES), length)).detach()
    steps = list(rule(weights, gradients))
    case.outputs["weights"], case.outputs["velocity"] = map(torch.stack, zip(*steps))
    return case


def sgd_pytorch(weights, gradients):
    """PyTorch's own optimizer."""
    weights = torch.nn.Parameter(weights.clone())
    optimizer = torch.optim.SGD(
        [weights], lr=RATES[0], momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    for rate, gradient in zip(RATES, gradients):
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = gradient.clone()
        optimizer.step()
        velocity = optimizer.state[weights]["momentum_buffer"]
        yield weights.detach().clone(), velocity.clone()


def sgd_paper(weights, gradients):
    """The paper's formula, section 5."""
    velocity = torch.zeros_like(weights)
    for rate, gradient in zip(RATES, gradients):
        velocity = MOMENTUM * velocity - WEIGHT_DECAY * rate * weights - rate * gradient
        weights = weights + velocity
        yield weights, velocity


# Constants of the networks, and strong ones that make an error in the sum show.
PAPER = dict(size=5, alpha=2e-5, beta=0.75, k=2.0)
CAFFE = dict(size=5, alpha=2e-5, beta=0.75, k=1.0)
STRONG = dict(size=5, alpha=0.3, beta=0.75, k=2.0)
SAME_MAP = dict(size=5, alpha=4e-5, beta=0.75, k=1.0)

CASES = [
    convolution("conv_11_stride_4_pad_2", (1, 3, 24, 31), (6, 3, 11, 11), stride=4, pad=2),
    convolution("conv_11_stride_4_ceil", (2, 3, 24, 29), (5, 3, 11, 11), stride=4, rounding="ceil"),
    convolution("conv_11_stride_4_exact", (1, 3, 23, 27), (8, 3, 11, 11), stride=4),
    convolution("conv_5_pad_2", (1, 7, 9, 6), (5, 7, 5, 5), pad=2),
    convolution("conv_5_pad_2_two_groups", (3, 6, 7, 9), (10, 3, 5, 5), pad=2, groups=2),
    convolution("conv_3_pad_1", (3, 5, 13, 7), (9, 5, 3, 3), pad=1),
    convolution("conv_3_pad_1_two_groups", (1, 16, 13, 13), (24, 8, 3, 3), pad=1, groups=2),
    convolution("conv_3_two_groups_odd", (3, 6, 5, 8), (14, 3, 3, 3), pad=1, groups=2),
    convolution("conv_3_no_pad_stride_2", (1, 3, 8, 9), (4, 3, 3, 3), stride=2),
    convolution("conv_3_input_smaller_than_kernel", (1, 4, 1, 2), (3, 4, 3, 3), pad=1),
    linear("linear", 3, 37, 19),
    linear("linear_one_image", 1, 64, 10),
    linear("linear_one_output", 5, 7, 1),
    relu("relu", (2, 5, 3, 7)),
    tanh("tanh", (2, 5, 3, 7)),
    sigmoid("sigmoid", (3, 4, 5, 2)),
    max_pool("max_pool_3_stride_2", (2, 5, 13, 13), 3, 2),
    max_pool("max_pool_3_stride_2_floor_leaves_a_rest", (1, 3, 8, 10), 3, 2),
    max_pool("max_pool_3_stride_2_ceil_sticks_out", (3, 5, 8, 10), 3, 2, "ceil"),
    max_pool("max_pool_3_stride_2_ties", (2, 5, 9, 11), 3, 2, levels=2),
    max_pool("max_pool_3_stride_2_ceil_ties", (1, 7, 8, 6), 3, 2, "ceil", levels=2),
    max_pool("max_pool_2_stride_2", (1, 4, 8, 6), 2, 2),
    max_pool("max_pool_2_stride_2_ties", (3, 3, 7, 6), 2, 2, levels=1),
    max_pool("max_pool_3_stride_1", (1, 5, 6, 7), 3, 1),
    average_pool("average_pool_13_to_6", (2, 5, 13, 13), (6, 6)),
    average_pool("average_pool_6_to_6", (1, 5, 6, 6), (6, 6)),
    average_pool("average_pool_1_to_6", (3, 5, 1, 1), (6, 6)),
    average_pool("average_pool_7_and_3_to_6", (2, 3, 7, 3), (6, 6)),
    lrn_maps("lrn_caffe", (2, 9, 5, 3), **CAFFE, groups=1),
    lrn_maps("lrn_caffe_strong", (1, 11, 3, 4), **(STRONG | dict(k=1.0)), groups=1),
    lrn_maps("lrn_two_towers", (2, 16, 3, 5), **PAPER, groups=2),
    lrn_maps("lrn_two_towers_strong", (3, 14, 3, 3), **STRONG, groups=2),
    lrn_maps("lrn_towers_narrower_than_the_window", (1, 6, 4, 3), **STRONG, groups=2),
    lrn_maps("lrn_even_window", (1, 9, 3, 3), **(STRONG | dict(size=4)), groups=1),
    lrn_map("lrn_same_map", (2, 5, 9, 7), **SAME_MAP),
    lrn_map("lrn_same_map_strong", (1, 3, 6, 8), **(SAME_MAP | dict(alpha=0.1))),
    lrn_map("lrn_same_map_smaller_than_the_window", (3, 4, 2, 3), **(SAME_MAP | dict(alpha=0.1))),
    batch_norm_train("batch_norm_train", (3, 5, 4, 3)),
    batch_norm_train("batch_norm_train_far_from_zero", (2, 7, 3, 5), mean=5.0),
    batch_norm_train("batch_norm_train_four_places", (4, 3, 1, 1), momentum=0.3, epsilon=1e-3),
    batch_norm_evaluate("batch_norm_evaluate", (2, 5, 3, 4)),
    dropout("dropout_classic", (3, 5, 3, 3), 0.5, 1.0, seed=5, step=3, layer=0),
    dropout("dropout_inverted", (3, 5, 3, 3), 0.5, 2.0, seed=5, step=3, layer=1),
    dropout("dropout_rate_0.2", (2, 101), 0.2, 1.25, seed=2**40 + 7, step=2**33 + 1, layer=6),
    scale("scale", (3, 35), 0.5),
    softmax_cross_entropy("softmax_cross_entropy", [1, 4, 9], 10, largest=3.0),
    softmax_cross_entropy("softmax_cross_entropy_large_logits", [0, 6, 2, 6], 7, largest=300.0),
    softmax_cross_entropy("softmax_cross_entropy_one_image", [2], 5, largest=30.0),
    softmax_cross_entropy("softmax_cross_entropy_smoothed", [3, 0, 19], 20, 4.0, smoothing=0.1),
    softmax_cross_entropy("softmax_cross_entropy_much_smoothed", [1, 1], 3, 9.0, smoothing=0.7),
    sgd(sgd_pytorch, 33),
    sgd(sgd_paper, 33),
]


def check_that_pytorch_sends_ties_to_the_first():
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    (d_x,) = torch.autograd.grad(F.max_pool2d(x, 2, 2).sum(), x)
    assert d_x.flatten().tolist() == [1, 0, 1, 0, 0, 0, 0, 0] * 2


def main():
    check_that_pytorch_sends_ties_to_the_first()
    tensors = {
        f"{case.description['name']}/{output}": values
        for case in CASES
        for output, values in case.outputs.items()
    }
    write("operations.safetensors", tensors, cases=[case.description for case in CASES])


if __name__ == "__main__":
    main()
