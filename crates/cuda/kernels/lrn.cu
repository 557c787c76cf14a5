// Local response normalisation (paper, section 3.3), across maps and within one map.
//
// With s_i = k + alpha * sum of x_j^2 over the window of i, forward is y_i = x_i * s_i^-beta. An
// input acts through its own numerator and through every sum it is part of, so
//
//   dx_i = dy_i * s_i^-beta - 2 alpha beta x_i * sum of t_j,   t_j = dy_j * x_j * s_j^(-beta-1),
//
// the sum over all j whose window holds i: the window of i, mirrored. The terms t are computed once
// and then gathered.

// number^-beta; for the 0.75 of all published tables two square roots, far cheaper than a power.
__device__ inline float to_minus_beta(float number, float beta) {
    if (beta == 0.75f) {
        float root = 1.0f / sqrtf(number);
        return root * sqrtf(root);
    }
    return powf(number, -beta);
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

// s of element `at` of a tower. The maps of one place stand side by side, and so do those of one
// tower: the neighbours of an element are around it, as far as its tower goes.
__device__ inline float sum_across_maps(const value* tower, u32 at, u32 maps, u32 size, float alpha, float k) {
    u32 end = window_end(at, size, maps);
    float squares = 0.0f;
    for (u32 j = window_first(at, size); j < end; ++j) squares += wide(tower[j]) * wide(tower[j]);
    return k + alpha * squares;
}

// A thread computes `width` neighbours of one tower, 8 or 1.
extern "C" __global__ void lrn_maps_forward(value* y, const value* x, u32 maps, u32 size, float alpha, float beta, float k, u32 width, u64 len) {
    u64 first = thread_number() * width;
    if (first >= len) return;
    u32 at = (u32)thread_number() % (maps / width) * width;
    Eight run = read_run(x + first, width);
    for (u32 i = 0; i < EIGHT; ++i) {
        if (i >= width) break;
        run.at[i] *= to_minus_beta(sum_across_maps(x + (first - at), at + i, maps, size, alpha, k), beta);
    }
    write_run(y + first, run, width);
}

// A block computes the terms of its own elements and of the `size - 1` around them into shared
// memory, and the powers beside them; then each thread gathers.
extern "C" __global__ void lrn_maps_backward(value* d_x, const value* d_y, const value* x, u32 maps, u32 size, float alpha, float beta, float k, u64 len) {
    extern __shared__ float shared[];
    u32 width = blockDim.x + size - 1, before = size - size / 2 - 1;
    float* terms = shared;
    float* powers = shared + width;
    u64 first = (u64)blockIdx.x * blockDim.x;
    // Where in its tower the element of the first slot is.
    u32 begin = (u32)((first + (u64)before * (maps - 1)) % maps);
    for (u32 slot = threadIdx.x; slot < width; slot += blockDim.x) {
        u64 j = first + slot;  // `before` more than the element it is
        if (j < before || j - before >= len) continue;
        j -= before;
        u32 at = (begin + slot) % maps;
        float sum = sum_across_maps(x + (j - at), at, maps, size, alpha, k);
        float power = to_minus_beta(sum, beta);
        terms[slot] = wide(d_y[j]) * wide(x[j]) * power / sum;
        powers[slot] = power;
    }
    __syncthreads();
    u64 i = first + threadIdx.x;
    if (i >= len) return;
    u32 own = threadIdx.x + before, at = (begin + own) % maps, end = mirrored_end(at, size, maps);
    float sum = 0.0f;
    for (u32 j = mirrored_first(at, size); j < end; ++j) sum += terms[own + j - at];
    put(d_x + i, wide(d_y[i]) * powers[own] - 2.0f * alpha * beta * wide(x[i]) * sum);
}

struct Maps {
    u32 height, width, channels;
};

__device__ inline float sum_within_map(const value* x, u32 i, Maps s, u32 size, float alpha, float k) {
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.width, row = place / s.width % s.height, n = place / s.width / s.height;
    u32 row_end = window_end(row, size, s.height), column_end = window_end(column, size, s.width);
    float squares = 0.0f;
    for (u32 r = window_first(row, size); r < row_end; ++r) {
        for (u32 q = window_first(column, size); q < column_end; ++q) {
            float own = wide(x[(((u64)n * s.height + r) * s.width + q) * s.channels + c]);
            squares += own * own;
        }
    }
    return k + alpha * squares;
}

extern "C" __global__ void lrn_map_forward(value* y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i < len) put(y + i, wide(x[i]) * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta));
}

// First half of the gradient: the terms. A window of rows and columns does not fit a block, so they
// go through memory.
extern "C" __global__ void lrn_map_terms(float* terms, const value* d_y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    float sum = sum_within_map(x, i, s, size, alpha, k);
    terms[i] = wide(d_y[i]) * wide(x[i]) * to_minus_beta(sum, beta) / sum;
}

// Second half: what an input's own numerator gives, and what it gives through the sums it is part of.
extern "C" __global__ void lrn_map_gather(value* d_x, const float* terms, const value* d_y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
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
    float own = wide(d_y[i]) * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta);
    put(d_x + i, own - 2.0f * alpha * beta * wide(x[i]) * sum);
}
