// A linear layer of so few images that it takes as long as the memory takes to give its weights:
// `y (N, outputs) = factor * activation(x (N, inputs) . weights^T + bias)`, each weight being read once.
//
// `lanes` threads of a block sum up OUTPUTS_EACH neighbouring outputs of all images together: each takes
// every so manieth run of eight inputs, with the weights of all these outputs for it, so that an input is
// widened once for several weights; then the threads' sums are folded onto each other. Widths are multiples
// of eight. How many lanes there are follows from the number of outputs: it decides in which order terms
// are added, which so is the same for an image alone and beside others.

struct FewShape {
    u32 outputs, inputs, lanes, relu;
};

const u32 OUTPUTS_EACH = 4;

// What a thread reads at one place of the inputs.
template <u32 N>
struct FewRuns {
    Packed<value> weights[OUTPUTS_EACH], x[N];
};

// Sums of N images: those of an image's outputs are neighbours.
template <u32 N>
struct FewSums {
    float at[N * OUTPUTS_EACH];
};

template <u32 N>
__device__ inline void add_products(FewSums<N>& sums, const FewRuns<N>& found) {
    Eight weights[OUTPUTS_EACH];
    for (u32 i = 0; i < OUTPUTS_EACH; ++i) weights[i] = unpacked(found.weights[i]);
    for (u32 n = 0; n < N; ++n) {
        Eight x = unpacked(found.x[n]);
        for (u32 i = 0; i < OUTPUTS_EACH; ++i) {
            for (u32 k = 0; k < EIGHT; ++k) sums.at[n * OUTPUTS_EACH + i] += weights[i].at[k] * x.at[k];
        }
    }
}

// The thread's sums of its terms of the outputs from `first` on.
template <u32 N>
__device__ inline FewSums<N> sum_of_runs(const value* x, const value* weights, u32 first, const FewShape& s) {
    u32 lane = threadIdx.x % s.lanes, runs = first < s.outputs ? s.inputs / EIGHT : 0;
    const value* rows[OUTPUTS_EACH];
    // In place of an output that is not there, the last once more.
    for (u32 i = 0; i < OUTPUTS_EACH; ++i) rows[i] = weights + (u64)smaller(first + i, s.outputs - 1) * s.inputs;
    auto find = [=](u64 run) {
        FewRuns<N> found;
        for (u32 i = 0; i < OUTPUTS_EACH; ++i) found.weights[i] = read_packed(rows[i] + run * EIGHT);
        for (u32 n = 0; n < N; ++n) found.x[n] = read_packed(x + (u64)n * s.inputs + run * EIGHT);
        return found;
    };
    FewSums<N> sums = {};
    walk_down({0, lane, runs, lane, s.lanes}, find, [&](u64, const FewRuns<N>& found) { add_products(sums, found); });
    return sums;
}

// Leaves with the first of `lanes` threads what all of them summed up, each of `count` sums a block's threads
// apart. Eight are folded onto one at a time, for every round waits for the one before.
__device__ inline void fold_lanes(float* first, u32 lanes, u32 count) {
    u32 lane = threadIdx.x % lanes;
    __syncthreads();
    for (u32 left = lanes; left > 1;) {
        u32 next = (left + EIGHT - 1) / EIGHT;
        for (u32 i = lane; i < next * count; i += lanes) {
            float* own = first + i / next * blockDim.x + i % next;
            float sum = *own;
            for (u32 other = next; i % next + other < left; other += next) sum += own[other];
            *own = sum;
        }
        __syncthreads();
        left = next;
    }
}

template <u32 N>
__device__ inline void linear_of(float* shared, value* y, const value* x, const value* weights, const float* bias, const FewShape& s, float factor) {
    u32 lane = threadIdx.x % s.lanes, group = threadIdx.x / s.lanes;
    u32 first = (blockIdx.x * (blockDim.x / s.lanes) + group) * OUTPUTS_EACH;
    // The one that this thread writes, and its bias, which so is there when it is wanted.
    u32 output = first + lane % OUTPUTS_EACH, image = lane / OUTPUTS_EACH;
    bool writes = image < N && output < s.outputs;
    float of_output = writes ? bias[output] : 0.0f;
    FewSums<N> sums = sum_of_runs<N>(x, weights, first, s);
    for (u32 at = 0; at < N * OUTPUTS_EACH; ++at) shared[at * blockDim.x + threadIdx.x] = sums.at[at];
    float* folded = shared + group * s.lanes;
    fold_lanes(folded, s.lanes, N * OUTPUTS_EACH);
    if (!writes) return;
    float sum = folded[lane * blockDim.x] + of_output;
    put(y + (u64)image * s.outputs + output, (s.relu ? rectified(sum) : sum) * factor);
}

extern "C" __global__ void linear_of_one(value* y, const value* x, const value* weights, const float* bias, FewShape s, float factor) {
    alignas(16) extern __shared__ float shared[];
    linear_of<1>(shared, y, x, weights, bias, s, factor);
}
extern "C" __global__ void linear_of_two(value* y, const value* x, const value* weights, const float* bias, FewShape s, float factor) {
    alignas(16) extern __shared__ float shared[];
    linear_of<2>(shared, y, x, weights, bias, s, factor);
}
extern "C" __global__ void linear_of_three(value* y, const value* x, const value* weights, const float* bias, FewShape s, float factor) {
    alignas(16) extern __shared__ float shared[];
    linear_of<3>(shared, y, x, weights, bias, s, factor);
}
extern "C" __global__ void linear_of_four(value* y, const value* x, const value* weights, const float* bias, FewShape s, float factor) {
    alignas(16) extern __shared__ float shared[];
    linear_of<4>(shared, y, x, weights, bias, s, factor);
}
