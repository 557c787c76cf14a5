"""Times PyTorch, eager, on the steps that `alexnet bench` times: the same network, random images. Prints JSON.

    python bench/torch_step.py train --batch-size 32 --precision bf16

bf16 is autocast in training (weights stay f32, as they do in `alexnet`), and bf16 weights in inference.
"""

import resource

import torch
from torch.nn import functional as F

import networks
import step_arguments


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train_step(model, images, labels, bf16):
    sgd = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4, fused=True)

    def step():
        sgd.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        sgd.step()

    return step


def infer_step(model, images, bf16):
    if bf16:
        model, images = model.bfloat16(), images.bfloat16()

    @torch.inference_mode()
    def step():
        model(images)

    return step


def main():
    parser = step_arguments.parser(__doc__.splitlines()[0])
    parser.add_argument("--contiguous", action="store_true", help="NCHW, not channels-last")
    arguments = parser.parse_args()
    import_rss_bytes = peak_rss_bytes()
    torch.set_num_threads(arguments.threads)
    order = torch.contiguous_format if arguments.contiguous else torch.channels_last
    batch, size, bf16 = arguments.batch_size, arguments.image_size, arguments.precision == "bf16"
    model = networks.by_name(arguments.model, arguments.width, size).to(memory_format=order)
    model.train(arguments.task == "train")
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=order)
    if arguments.task == "train":
        step = train_step(model, images, torch.arange(batch) % 1000, bf16)
    else:
        step = infer_step(model, images, bf16)
    times = step_arguments.timed(step, arguments.steps, arguments.warmup_steps)
    memory = {"peak_rss_bytes": peak_rss_bytes(), "import_rss_bytes": import_rss_bytes}
    step_arguments.answer(arguments, times, version=torch.__version__, **memory)


if __name__ == "__main__":
    main()
