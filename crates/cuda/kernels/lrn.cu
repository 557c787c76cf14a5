// Local response normalisation (paper, section 3.3), across maps and within one map.
//
// With s_i = k + alpha * sum of x_j^2 over the window of i, forward is y_i = x_i * s_i^-beta. An
// input acts through its own numerator and through every sum it is part of, so
//
//   dx_i = dy_i * s_i^-beta - 2 alpha beta x_i * sum of t_j,   t_j = dy_j * x_j * s_j^(-beta-1),
//
// the sum over all j whose window holds i: the window of i, mirrored. The terms t are computed once
// and then gathered.

__device__ inline float root_of(float number) {
#ifdef __CUDA_ARCH__
    float root;
    asm("sqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(number));
    return root;
#else
    return sqrtf(number);
#endif
}
__device__ inline float inverse_root_of(float number) {
#ifdef __CUDA_ARCH__
    float root;
    asm("rsqrt.approx.f32 %0, %1;" : "=f"(root) : "f"(number));
    return root;
#else
    return 1.0f / sqrtf(number);
#endif
}

// number^-beta and number^(-beta - 1); for the 0.75 of all published tables by the GPU's own
// approximate roots, right to two in the last place, far cheaper than a power and a division.
struct Powers {
    float own, next;
};
__device__ inline Powers to_minus_beta(float number, float beta) {
    Powers powers;
    if (beta == 0.75f) {
        float root = inverse_root_of(number);
        powers.own = root * root_of(root);
        powers.next = powers.own * root * root;
    } else {
        powers.own = powf(number, -beta);
        powers.next = powers.own / number;
    }
    return powers;
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
        run.at[i] *= to_minus_beta(sum_across_maps(x + (first - at), at + i, maps, size, alpha, k), beta).own;
    }
    write_run(y + first, run, width);
}

// A block computes the terms of its own elements and of the `size - 1` around them into shared
// memory, and the powers beside them; then each thread gathers.
extern "C" __global__ void lrn_maps_backward(value* d_x, const value* d_y, const value* x, u32 maps, u32 size, float alpha, float beta, float k, u64 len) {
    alignas(16) extern __shared__ float shared[];
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
        Powers power = to_minus_beta(sum, beta);
        terms[slot] = wide(d_y[j]) * wide(x[j]) * power.next;
        powers[slot] = power.own;
    }
    __syncthreads();
    u64 i = first + threadIdx.x;
    if (i >= len) return;
    u32 own = threadIdx.x + before, at = (begin + own) % maps, end = mirrored_end(at, size, maps);
    float sum = 0.0f;
    for (u32 j = mirrored_first(at, size); j < end; ++j) sum += terms[own + j - at];
    put(d_x + i, wide(d_y[i]) * powers[own] - 2.0f * alpha * beta * wide(x[i]) * sum);
}

// The window of all published tables, over towers of whole runs of eight maps: a thread computes one
// run, from registers alone. What of the runs beside it the windows reach, it reads and computes for
// itself, for that is cheaper than to wait for the threads that have it.
const u32 FIVE = 5, REACH = FIVE / 2;
// As far as the windows of terms reach on either side of a run.
const u32 MARGIN = 2 * REACH, SPAN = EIGHT + 2 * MARGIN;
struct Span {
    float at[SPAN];
};

// A run and what is beside it, 0 beyond its tower.
__device__ inline Span read_span(const value* run, bool has_before, bool has_after) {
    Eight own = read_run(run, EIGHT), before = {}, after = {};
    if (has_before) before = read_run(run - EIGHT, EIGHT);
    if (has_after) after = read_run(run + EIGHT, EIGHT);
    Span span;
    for (u32 k = 0; k < MARGIN; ++k) span.at[k] = before.at[EIGHT - MARGIN + k];
    for (u32 k = 0; k < EIGHT; ++k) span.at[MARGIN + k] = own.at[k];
    for (u32 k = 0; k < MARGIN; ++k) span.at[MARGIN + EIGHT + k] = after.at[k];
    return span;
}

// s of the element in the middle of these squares.
__device__ inline float sum_of_five(const float* squares, float alpha, float k) {
    float sum = 0.0f;
    for (u32 i = 0; i < FIVE; ++i) sum += squares[i];
    return k + alpha * sum;
}

extern "C" __global__ void lrn_five_forward(value* y, const value* x, u32 maps, float alpha, float beta, float k, u64 len) {
    u64 first = run_begin();
    if (first >= len) return;
    u32 at = (u32)thread_number() % (maps / EIGHT) * EIGHT;
    Span span = read_span(x + first, at > 0, at + EIGHT < maps), squares;
    for (u32 i = 0; i < SPAN; ++i) squares.at[i] = span.at[i] * span.at[i];
    Eight run;
    for (u32 i = 0; i < EIGHT; ++i) {
        float sum = sum_of_five(squares.at + MARGIN + i - REACH, alpha, k);
        run.at[i] = span.at[MARGIN + i] * to_minus_beta(sum, beta).own;
    }
    write_run(y + first, run, EIGHT);
}

extern "C" __global__ void lrn_five_backward(value* d_x, const value* d_y, const value* x, u32 maps, float alpha, float beta, float k, u64 len) {
    u64 first = run_begin();
    if (first >= len) return;
    u32 at = (u32)thread_number() % (maps / EIGHT) * EIGHT;
    bool has_before = at > 0, has_after = at + EIGHT < maps;
    Span span = read_span(x + first, has_before, has_after), squares, terms;
    Span d = read_span(d_y + first, has_before, has_after);
    Eight powers;
    for (u32 i = 0; i < SPAN; ++i) squares.at[i] = span.at[i] * span.at[i];
    for (u32 i = REACH; i < SPAN - REACH; ++i) {
        bool own = i >= MARGIN && i < MARGIN + EIGHT;
        bool is_there = own || (i < MARGIN ? has_before : has_after);
        Powers power = to_minus_beta(sum_of_five(squares.at + i - REACH, alpha, k), beta);
        terms.at[i] = is_there ? d.at[i] * span.at[i] * power.next : 0.0f;
        if (own) powers.at[i - MARGIN] = power.own;
    }
    Eight run;
    for (u32 i = 0; i < EIGHT; ++i) {
        float sum = 0.0f;
        for (u32 j = 0; j < FIVE; ++j) sum += terms.at[MARGIN + i - REACH + j];
        run.at[i] = d.at[MARGIN + i] * powers.at[i] - 2.0f * alpha * beta * span.at[MARGIN + i] * sum;
    }
    write_run(d_x + first, run, EIGHT);
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
    if (i < len) put(y + i, wide(x[i]) * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta).own);
}

// First half of the gradient: the terms. A window of rows and columns does not fit a block, so they
// go through memory.
extern "C" __global__ void lrn_map_terms(float* terms, const value* d_y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    float sum = sum_within_map(x, i, s, size, alpha, k);
    terms[i] = wide(d_y[i]) * wide(x[i]) * to_minus_beta(sum, beta).next;
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
    float own = wide(d_y[i]) * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta).own;
    put(d_x + i, own - 2.0f * alpha * beta * wide(x[i]) * sum);
}
