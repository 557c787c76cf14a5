// The two forms of stochastic gradient descent with momentum: one pass over weights, velocity and
// gradient, which also leaves the new weights in bf16 for the next step's products, if they are kept
// so. Where the verdict is 0, nothing is updated.

// Whether every magnitude found holds its bound: `bounds` has the largest that does, and 1 where the
// product with the one before is meant. A NaN never holds. One block.
extern "C" __global__ void judge(u32* verdict, const float* found, const float* bounds, u32 looks) {
    alignas(16) extern __shared__ float shared[];
    u32* sound = (u32*)shared;
    if (threadIdx.x == 0) *sound = 1;
    __syncthreads();
    for (u32 at = threadIdx.x; at < looks; at += blockDim.x) {
        float before = at > 0 ? found[at - 1] : 0.0f;
        float magnitude = bounds[2 * at + 1] > 0.0f ? before * found[at] : found[at];
        // Whoever writes writes the same.
        if (!(magnitude <= bounds[2 * at])) *sound = 0;
    }
    __syncthreads();
    if (threadIdx.x == 0) *verdict = *sound;
}

// Multiplications and additions are fused as they are written, so that every kernel that takes one of
// these steps forms the same bits.
typedef void Step(Eight& weights, Eight& velocity, const Eight& gradient, float rate, float momentum, float decay);

// v = m v - d r w - r g; w = w + v (paper, section 5).
__device__ inline void paper_step(Eight& weights, Eight& velocity, const Eight& gradient, float rate, float momentum, float decay) {
    for (u32 k = 0; k < EIGHT; ++k) {
        float loss = fmaf(decay * rate, weights.at[k], rate * gradient.at[k]);
        velocity.at[k] = fmaf(momentum, velocity.at[k], -loss);
        weights.at[k] += velocity.at[k];
    }
}

// v = m v + g + d w; w = w - r v (PyTorch).
__device__ inline void pytorch_step(Eight& weights, Eight& velocity, const Eight& gradient, float rate, float momentum, float decay) {
    for (u32 k = 0; k < EIGHT; ++k) {
        velocity.at[k] = fmaf(momentum, velocity.at[k], fmaf(decay, weights.at[k], gradient.at[k]));
        weights.at[k] = fmaf(-rate, velocity.at[k], weights.at[k]);
    }
}

// A step of up to eight neighbours; `rounded` is null where no bf16 is kept.
template <Step STEP>
__device__ inline void sgd(float* weights, float* velocity, u16* rounded, const Eight& gradient, u32 count, float rate, float momentum, float decay) {
    Eight w = read_run(weights, count), v = read_run(velocity, count);
    STEP(w, v, gradient, rate, momentum, decay);
    write_run(weights, w, count);
    write_run(velocity, v, count);
    if (rounded) write_run(rounded, w, count);
}

// A step of four neighbours from one place and four from another.
template <Step STEP, bool WHOLE>
__device__ inline void sgd_fours(float* weights, float* velocity, u16* rounded, u64 one, u64 other, const Eight& gradient, float rate, float momentum, float decay) {
    Eight w = read_fours<WHOLE>(weights + one, weights + other), v = read_fours<WHOLE>(velocity + one, velocity + other);
    STEP(w, v, gradient, rate, momentum, decay);
    write_fours<WHOLE>(weights + one, weights + other, w);
    write_fours<WHOLE>(velocity + one, velocity + other, v);
    if (rounded) write_fours<WHOLE>(rounded + one, rounded + other, w);
}
__device__ inline bool are_whole_fours(const float* weights, const float* velocity, const u16* rounded) {
    return are_whole_fours(weights) && are_whole_fours(velocity) && are_whole_fours(rounded);
}

// Each thread eight of an array: two fours, and neighbours where the block reaches beyond the end.
template <Step STEP>
__device__ inline void sgd(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, u64 len) {
    u64 one = (u64)blockIdx.x * blockDim.x * EIGHT + threadIdx.x * FOUR, other = one + blockDim.x * FOUR;
    bool reaches_beyond = (u64)(blockIdx.x + 1) * blockDim.x * EIGHT > len;
    if (!reaches_beyond && are_whole_fours(gradient) && are_whole_fours(weights, velocity, rounded)) {
        Eight g = read_fours<true>(gradient + one, gradient + other);
        return sgd_fours<STEP, true>(weights, velocity, rounded, one, other, g, rate, momentum, decay);
    }
    u64 begin = run_begin();
    u32 count = run_count(len);
    u16* beside = rounded ? rounded + begin : nullptr;
    Eight g = read_run(gradient + begin, count);
    sgd<STEP>(weights + begin, velocity + begin, beside, g, count, rate, momentum, decay);
}

extern "C" __global__ void sgd_paper(float* weights, float* velocity, const float* gradient, float rate, float momentum, float decay, const u32* verdict, u64 len) {
    if (*verdict) sgd<paper_step>(weights, velocity, nullptr, gradient, rate, momentum, decay, len);
}
extern "C" __global__ void sgd_paper_rounded(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, const u32* verdict, u64 len) {
    if (*verdict) sgd<paper_step>(weights, velocity, rounded, gradient, rate, momentum, decay, len);
}
extern "C" __global__ void sgd_pytorch(float* weights, float* velocity, const float* gradient, float rate, float momentum, float decay, const u32* verdict, u64 len) {
    if (*verdict) sgd<pytorch_step>(weights, velocity, nullptr, gradient, rate, momentum, decay, len);
}
extern "C" __global__ void sgd_pytorch_rounded(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, const u32* verdict, u64 len) {
    if (*verdict) sgd<pytorch_step>(weights, velocity, rounded, gradient, rate, momentum, decay, len);
}

// What a launch over many arrays is told of each, as `update.rs` writes it: null where no bf16 is kept,
// and last the first of the array's blocks, each of which takes `piece` of its elements.
struct Updated {
    float* weights;
    float* velocity;
    u16* rounded;
    const float* gradient;
    u64 len;
    float rate, momentum, decay;
    u32 is_pytorch;
    float trust;
    u32 is_layer_wise;
    u64 first;
};
const u32 UPDATED_WORDS = sizeof(Updated) / sizeof(u64);

// The array of this block, and the elements of it that are this block's.
__device__ inline const Updated& updated_by_block(float* shared, const u64* table, u32 arrays, u32 piece, u64& begin, u64& end) {
    u32 array = array_of_block<UPDATED_WORDS>(shared, table, arrays);
    const Updated& updated = ((const Updated*)table)[array];
    begin = (blockIdx.x - updated.first) * piece;
    end = begin + piece < updated.len ? begin + piece : updated.len;
    return updated;
}

// Of what a block's threads have found, the halves folded onto each other.
__device__ inline double sum_of_block(double* shared, double found) {
    shared[threadIdx.x] = found;
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    __syncthreads();
    double sum = shared[0];
    __syncthreads();
    return sum;
}

// Of arrays with a layer-wise rate `sums (blocks, 2)`: the squares of each piece of weights and gradient.
extern "C" __global__ void squares_of_pieces(double* sums, const u64* table, u32 arrays, u32 piece) {
    alignas(16) extern __shared__ float shared[];
    u64 begin, end;
    const Updated& updated = updated_by_block(shared, table, arrays, piece, begin, end);
    if (!updated.is_layer_wise) return;
    const float* both[2] = {updated.weights, updated.gradient};
    for (u32 which = 0; which < 2; ++which) {
        double sum = 0.0;
        for (u64 at = begin + threadIdx.x * EIGHT; at < end; at += blockDim.x * EIGHT) {
            Eight run = read_run(both[which] + at, end - at < EIGHT ? (u32)(end - at) : EIGHT);
            for (u32 k = 0; k < EIGHT; ++k) sum += (double)run.at[k] * (double)run.at[k];
        }
        sum = sum_of_block((double*)shared, sum);
        if (threadIdx.x == 0) sums[2 * blockIdx.x + which] = sum;
    }
}
// Then `squares (arrays, 2)` of all pieces, a block an array.
extern "C" __global__ void squares_of_arrays(double* squares, const double* sums, const u64* table, u32 arrays, u32 blocks) {
    alignas(16) extern __shared__ float shared[];
    const Updated* updated = (const Updated*)table + blockIdx.x;
    if (!updated->is_layer_wise) return;
    u64 end = blockIdx.x + 1 < arrays ? updated[1].first : blocks;
    for (u32 which = 0; which < 2; ++which) {
        double sum = 0.0;
        for (u64 piece = updated->first + threadIdx.x; piece < end; piece += blockDim.x) sum += sums[2 * piece + which];
        sum = sum_of_block((double*)shared, sum);
        if (threadIdx.x == 0) squares[2 * blockIdx.x + which] = sum;
    }
}

// The rate of an array: `SgdStep::at_layer_wise_rate` where it is one.
__device__ inline float rate_of(const Updated& updated, const double* squares) {
    if (!updated.is_layer_wise) return updated.rate;
    double weights = sqrt(squares[0]), gradient = sqrt(squares[1]);
    if (weights == 0.0 || gradient == 0.0) return updated.rate;
    return updated.rate * (float)(updated.trust * weights / (gradient + updated.decay * weights));
}

// Of many arrays at once.
extern "C" __global__ void sgd_many(const u64* table, const double* squares, u32 arrays, u32 piece, const u32* verdict) {
    alignas(16) extern __shared__ float shared[];
    u64 begin, end;
    const Updated& updated = updated_by_block(shared, table, arrays, piece, begin, end);
    if (*verdict == 0) return;
    float rate = rate_of(updated, squares + 2 * (&updated - (const Updated*)table));
    for (u64 at = begin + threadIdx.x * EIGHT; at < end; at += blockDim.x * EIGHT) {
        u32 count = end - at < EIGHT ? (u32)(end - at) : EIGHT;
        float* weights = updated.weights + at;
        float* velocity = updated.velocity + at;
        u16* rounded = updated.rounded ? updated.rounded + at : nullptr;
        Eight gradient = read_run(updated.gradient + at, count);
        if (updated.is_pytorch) sgd<pytorch_step>(weights, velocity, rounded, gradient, count, rate, updated.momentum, updated.decay);
        else sgd<paper_step>(weights, velocity, rounded, gradient, count, rate, updated.momentum, updated.decay);
    }
}
