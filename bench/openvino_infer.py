"""Times OpenVINO on the inference that `alexnet bench infer` times, by both of its performance hints. Prints the
better one's JSON.

    python bench/openvino_infer.py infer --batch-size 16 --precision bf16 --cache FOLDER

The network comes from PyTorch and is kept, in f32, in the cache folder. By the hint THROUGHPUT several batches are
under way at once, and a step's time is the wall time over the number of batches.
"""

from pathlib import Path

import numpy
import openvino

import step_arguments

ROUNDS = 3


def network(core, arguments):
    """The network at its batch size, converted once."""
    size = arguments.image_size
    path = Path(arguments.cache) / f"{arguments.model}-{arguments.width}-{size}.xml"
    if not path.exists():
        import torch

        import networks

        model = networks.by_name(arguments.model, arguments.width, size).eval()
        converted = openvino.convert_model(model, example_input=torch.randn(1, 3, size, size))
        openvino.save_model(converted, path, compress_to_fp16=False)
    model = core.read_model(path)
    model.reshape([arguments.batch_size, 3, size, size])
    return model


def latency(compiled, images, arguments):
    request = compiled.create_infer_request()
    request.set_input_tensor(images)
    return step_arguments.timed(request.infer, arguments.steps, arguments.warmup_steps)


def throughput(compiled, images, arguments):
    requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    queue = openvino.AsyncInferQueue(compiled, requests)
    batches = max(arguments.steps // ROUNDS, 2 * requests)

    def round_of_batches():
        for _ in range(batches):
            queue.start_async({0: images})
        queue.wait_all()

    times = step_arguments.timed(round_of_batches, ROUNDS, 1)
    return [time / batches for time in times]


def main():
    parser = step_arguments.parser(__doc__.splitlines()[0])
    parser.add_argument("--cache", required=True, help="folder for the converted network")
    arguments = parser.parse_args()
    core = openvino.Core()
    model = network(core, arguments)
    shape = (arguments.batch_size, 3, arguments.image_size, arguments.image_size)
    images = numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32)
    found = {}
    for hint, measure in [("LATENCY", latency), ("THROUGHPUT", throughput)]:
        options = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": arguments.threads}
        options["INFERENCE_PRECISION_HINT"] = arguments.precision
        compiled = core.compile_model(model, "CPU", options)
        found[hint] = measure(compiled, openvino.Tensor(images, shared_memory=True), arguments)
        del compiled
    medians = {hint: float(numpy.median(times)) for hint, times in found.items()}
    best = min(medians, key=medians.get)
    version = openvino.__version__.split("-")[0]
    step_arguments.answer(arguments, found[best], version=version, hint=best, hints_ms=medians)


if __name__ == "__main__":
    main()
