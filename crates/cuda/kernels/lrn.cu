// Local response normalisation (paper, section 3.3), across maps and within one map.
//
// With s_i = k + alpha * sum of x_j^2 over the window of i, forward is y_i = x_i * s_i^-beta. An
// input acts through its own numerator and through every sum it is part of, so
//
//   dx_i = dy_i * s_i^-beta - 2 alpha beta x_i * sum of t_j,   t_j = dy_j * x_j * s_j^(-beta-1),
//
// the sum over all j whose window holds i: the window of i, mirrored. The terms t are computed once
// and then gathered.

// value^-beta; for the 0.75 of all published tables two square roots, far cheaper than a power.
__device__ inline float to_minus_beta(float value, float beta) {
    if (beta == 0.75f) {
        float root = 1.0f / sqrtf(value);
        return root * sqrtf(root);
    }
    return powf(value, -beta);
}

// A window of `size` around element `at` of `count` in a row, cut at both ends: `first .. end`. It
// begins `size / 2` before the element.
__device__ inline u32 window_first(u32 at, u32 size) {
    return at > size / 2 ? at - size / 2 : 0;
}
__device__ inline u32 window_end(u32 at, u32 size, u32 count) {
    return smaller(at + size - size / 2, count);
}
// The elements whose window holds `at`.
__device__ inline u32 mirrored_first(u32 at, u32 size) {
    u32 before = size - size / 2 - 1;
    return at > before ? at - before : 0;
}
__device__ inline u32 mirrored_end(u32 at, u32 size, u32 count) {
    return smaller(at + size / 2 + 1, count);
}

// s of element `i`. The maps of one place stand side by side, and so do those of one tower: with
// `maps` to a tower, the neighbours of i are around i, and i modulo `maps` says how far its tower
// goes.
__device__ inline float sum_across_maps(const float* x, u64 i, u32 maps, u32 size, float alpha, float k) {
    u32 at = (u32)(i % maps), end = window_end(at, size, maps);
    const float* tower = x + (i - at);
    float squares = 0.0f;
    for (u32 j = window_first(at, size); j < end; ++j) squares += tower[j] * tower[j];
    return k + alpha * squares;
}

extern "C" __global__ void lrn_maps_forward(float* y, const float* x, u32 maps, u32 size, float alpha, float beta, float k, u64 len) {
    u64 i = thread_number();
    if (i < len) y[i] = x[i] * to_minus_beta(sum_across_maps(x, i, maps, size, alpha, k), beta);
}

// A block computes the terms of its own elements and of the `size - 1` around them into shared
// memory, and the powers beside them; then each thread gathers.
extern "C" __global__ void lrn_maps_backward(float* d_x, const float* d_y, const float* x, u32 maps, u32 size, float alpha, float beta, float k, u64 len) {
    extern __shared__ float shared[];
    u32 width = blockDim.x + size - 1, before = size - size / 2 - 1;
    float* terms = shared;
    float* powers = shared + width;
    u64 first = (u64)blockIdx.x * blockDim.x;
    for (u32 slot = threadIdx.x; slot < width; slot += blockDim.x) {
        u64 j = first + slot;  // `before` more than the element it is
        if (j < before || j - before >= len) continue;
        j -= before;
        float sum = sum_across_maps(x, j, maps, size, alpha, k);
        float power = to_minus_beta(sum, beta);
        terms[slot] = d_y[j] * x[j] * power / sum;
        powers[slot] = power;
    }
    __syncthreads();
    u64 i = first + threadIdx.x;
    if (i >= len) return;
    u32 at = (u32)(i % maps), own = threadIdx.x + before, end = mirrored_end(at, size, maps);
    float sum = 0.0f;
    for (u32 j = mirrored_first(at, size); j < end; ++j) sum += terms[own + j - at];
    d_x[i] = d_y[i] * powers[own] - 2.0f * alpha * beta * x[i] * sum;
}

struct Maps {
    u32 height, width, channels;
};

__device__ inline float sum_within_map(const float* x, u32 i, Maps s, u32 size, float alpha, float k) {
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.width, row = place / s.width % s.height, n = place / s.width / s.height;
    u32 row_end = window_end(row, size, s.height), column_end = window_end(column, size, s.width);
    float squares = 0.0f;
    for (u32 r = window_first(row, size); r < row_end; ++r) {
        for (u32 q = window_first(column, size); q < column_end; ++q) {
            float value = x[(((u64)n * s.height + r) * s.width + q) * s.channels + c];
            squares += value * value;
        }
    }
    return k + alpha * squares;
}

extern "C" __global__ void lrn_map_forward(float* y, const float* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i < len) y[i] = x[i] * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta);
}

// First half of the gradient: the terms, and what an input's own numerator gives. A window of rows
// and columns does not fit a block, so the terms go through memory.
extern "C" __global__ void lrn_map_terms(float* terms, float* d_x, const float* d_y, const float* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    float sum = sum_within_map(x, i, s, size, alpha, k);
    float power = to_minus_beta(sum, beta);
    terms[i] = d_y[i] * x[i] * power / sum;
    d_x[i] = d_y[i] * power;
}

// Second half: what an input gives through the sums it is part of.
extern "C" __global__ void lrn_map_gather(float* d_x, const float* terms, const float* x, Maps s, u32 size, float alpha, float beta, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.width, row = place / s.width % s.height, n = place / s.width / s.height;
    u32 row_end = mirrored_end(row, size, s.height), column_end = mirrored_end(column, size, s.width);
    float sum = 0.0f;
    for (u32 r = mirrored_first(row, size); r < row_end; ++r) {
        for (u32 q = mirrored_first(column, size); q < column_end; ++q) {
            sum += terms[(((u64)n * s.height + r) * s.width + q) * s.channels + c];
        }
    }
    d_x[i] -= 2.0f * alpha * beta * x[i] * sum;
}
