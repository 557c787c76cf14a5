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

// Each thread its eight of an array.
template <Step STEP>
__device__ inline void sgd(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, u64 len) {
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

// Of many arrays at once: array `a` is `table[8 a ..]`, where its weights, velocities, roundings (0 where
// none are kept) and gradient are, its length, its figures, rate and momentum, decay and which of the two
// forms, and the first of its blocks, each of which takes `piece` of its elements.
extern "C" __global__ void sgd_many(const u64* table, u32 arrays, u32 piece, const u32* verdict) {
    alignas(16) extern __shared__ float shared[];
    const u64* entry = table + 8 * array_of_block<8>(shared, table, arrays);
    u64 first = (blockIdx.x - entry[7]) * piece, end = first + piece < entry[4] ? first + piece : entry[4];
    float rate = __uint_as_float((u32)entry[5]), momentum = __uint_as_float((u32)(entry[5] >> 32));
    float decay = __uint_as_float((u32)entry[6]);
    u16* rounded = (u16*)entry[2];
    bool is_paper = entry[6] >> 32 == 0;
    if (*verdict == 0) return;
    for (u64 at = first + threadIdx.x * EIGHT; at < end; at += blockDim.x * EIGHT) {
        u32 count = end - at < EIGHT ? (u32)(end - at) : EIGHT;
        float* weights = (float*)entry[0] + at;
        float* velocity = (float*)entry[1] + at;
        u16* beside = rounded ? rounded + at : nullptr;
        Eight gradient = read_run((const float*)entry[3] + at, count);
        if (is_paper) sgd<paper_step>(weights, velocity, beside, gradient, count, rate, momentum, decay);
        else sgd<pytorch_step>(weights, velocity, beside, gradient, count, rate, momentum, decay);
    }
}
