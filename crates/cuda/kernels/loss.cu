// Softmax and cross-entropy in one: `logits (N, classes)`, one block an image. With p the softmax
// and targets t, an image's loss is - sum of t * ln p, and the gradient of the mean over M images is
// (p - t) / M. The largest logit is taken away first, so that nothing overflows. An image's rank is how
// many classes come before its label (`rank` of `softmax.rs`).

// The sum, or the largest, of one value from each thread of a block whose size is a power of two,
// known to all its threads: halves are folded onto each other, in the same order every time.
__device__ inline float block_sum(float* shared, float own) {
    __syncthreads();
    shared[threadIdx.x] = own;
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    }
    __syncthreads();
    return shared[0];
}
__device__ inline float block_largest(float* shared, float own) {
    __syncthreads();
    shared[threadIdx.x] = own;
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half && shared[threadIdx.x + half] > shared[threadIdx.x]) {
            shared[threadIdx.x] = shared[threadIdx.x + half];
        }
    }
    __syncthreads();
    return shared[0];
}

// Whether a class comes before the label, whose logit is `own`.
__device__ inline bool comes_before(float other, u32 class_, float own, u32 label) {
    if (class_ == label) return false;
    return !(other <= own) || (other == own && class_ < label);
}

// The label's target is `certain + spread`, that of every other class `spread`.
extern "C" __global__ void softmax_cross_entropy(float* losses, float* ranks, value* d_logits, const value* logits, const u32* labels, u32 classes, float certain, float spread, float mean_over) {
    alignas(16) extern __shared__ float shared[];
    u32 n = blockIdx.x, label = labels[n];
    const value* row = logits + (u64)n * classes;
    value* d_row = d_logits + (u64)n * classes;
    float own = wide(row[0]);  // of the first class, so that a thread without classes changes nothing
    for (u32 class_ = threadIdx.x; class_ < classes; class_ += blockDim.x) {
        own = wide(row[class_]) > own ? wide(row[class_]) : own;
    }
    float largest = block_largest(shared, own);
    float sum = 0.0f;
    for (u32 class_ = threadIdx.x; class_ < classes; class_ += blockDim.x) {
        sum += expf(wide(row[class_]) - largest);
    }
    float total = block_sum(shared, sum);
    float log_total = logf(total), loss = 0.0f, before = 0.0f;
    for (u32 class_ = threadIdx.x; class_ < classes; class_ += blockDim.x) {
        before += comes_before(wide(row[class_]), class_, wide(row[label]), label);
        float above = wide(row[class_]) - largest;
        float target = spread + (class_ == label ? certain : 0.0f);
        // Not the logarithm of the probability, which may be 0.
        loss += target * (log_total - above);
        put(d_row + class_, (expf(above) / total - target) / mean_over);
    }
    loss = block_sum(shared, loss);
    before = block_sum(shared, before);
    if (threadIdx.x == 0) {
        losses[n] = loss;
        ranks[n] = before;
    }
}
