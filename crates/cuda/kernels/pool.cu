// Max pooling with the place of each maximum, and adaptive average pooling. One thread an output
// forward, one an input backward: a thread of the backward pass gathers from all windows that its
// input lies in, so that none has to add to what another adds to.

struct MaxPool {
    u32 batch, in_h, in_w, out_h, out_w, channels, size, stride;
};

// A position is `row * size + column` within the window; of equals the first.
extern "C" __global__ void max_pool_forward(float* y, u8* positions, const float* x, MaxPool s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.channels, window = i / s.channels;
    u32 q = window % s.out_w, p = window / s.out_w % s.out_h, n = window / s.out_w / s.out_h;
    u32 first_row = p * s.stride, first_column = q * s.stride;
    // A window may stick out at the bottom and right.
    u32 rows = smaller(s.size, s.in_h - first_row), columns = smaller(s.size, s.in_w - first_column);
    const float* corner = x + (((u64)n * s.in_h + first_row) * s.in_w + first_column) * s.channels + c;
    float best = corner[0], seen = 0.0f;
    u32 position = 0;
    for (u32 r = 0; r < rows; ++r) {
        for (u32 t = 0; t < columns; ++t) {
            float value = corner[((u64)r * s.in_w + t) * s.channels];
            if (value > best || value != value) {
                best = value;
                position = r * s.size + t;
            }
            seen += spoilt(value);
        }
    }
    y[i] = best + seen;
    positions[i] = (u8)position;
}

extern "C" __global__ void max_pool_backward(float* d_x, const float* d_y, const u8* positions, MaxPool s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.in_w, row = place / s.in_w % s.in_h, n = place / s.in_w / s.in_h;
    // Windows `first .. last` begin at or before this row and reach over it.
    u32 first_p = row < s.size ? 0 : (row - s.size) / s.stride + 1;
    u32 first_q = column < s.size ? 0 : (column - s.size) / s.stride + 1;
    u32 last_p = smaller(row / s.stride + 1, s.out_h), last_q = smaller(column / s.stride + 1, s.out_w);
    float sum = 0.0f;
    for (u32 p = first_p; p < last_p; ++p) {
        for (u32 q = first_q; q < last_q; ++q) {
            u32 here = (row - p * s.stride) * s.size + (column - q * s.stride);
            u64 window = (((u64)n * s.out_h + p) * s.out_w + q) * s.channels + c;
            if (positions[window] == here) sum += d_y[window];
        }
    }
    d_x[i] = sum;
}

struct AveragePool {
    u32 batch, in_h, in_w, out_h, out_w, channels;
};

// Cell `cell` of `cells` over `size` inputs averages inputs `first .. end`. Turned about, the cells
// that average input i are those of a "cell" i of `size` over `cells`.
__device__ inline u32 first_of_cell(u32 cell, u32 cells, u32 size) {
    return (u32)((u64)cell * size / cells);
}
__device__ inline u32 end_of_cell(u32 cell, u32 cells, u32 size) {
    return (u32)(((u64)(cell + 1) * size + cells - 1) / cells);
}

extern "C" __global__ void average_pool_forward(float* y, const float* x, AveragePool s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.channels, cell = i / s.channels;
    u32 q = cell % s.out_w, p = cell / s.out_w % s.out_h, n = cell / s.out_w / s.out_h;
    u32 first_row = first_of_cell(p, s.out_h, s.in_h), end_row = end_of_cell(p, s.out_h, s.in_h);
    u32 first_column = first_of_cell(q, s.out_w, s.in_w), end_column = end_of_cell(q, s.out_w, s.in_w);
    float share = 1.0f / (float)((end_row - first_row) * (end_column - first_column));
    float sum = 0.0f;
    for (u32 row = first_row; row < end_row; ++row) {
        for (u32 column = first_column; column < end_column; ++column) {
            sum += x[(((u64)n * s.in_h + row) * s.in_w + column) * s.channels + c] * share;
        }
    }
    y[i] = sum;
}

extern "C" __global__ void average_pool_backward(float* d_x, const float* d_y, AveragePool s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.in_w, row = place / s.in_w % s.in_h, n = place / s.in_w / s.in_h;
    u32 end_p = end_of_cell(row, s.in_h, s.out_h), end_q = end_of_cell(column, s.in_w, s.out_w);
    float sum = 0.0f;
    for (u32 p = first_of_cell(row, s.in_h, s.out_h); p < end_p; ++p) {
        u32 rows = end_of_cell(p, s.out_h, s.in_h) - first_of_cell(p, s.out_h, s.in_h);
        for (u32 q = first_of_cell(column, s.in_w, s.out_w); q < end_q; ++q) {
            u32 columns = end_of_cell(q, s.out_w, s.in_w) - first_of_cell(q, s.out_w, s.in_w);
            float share = 1.0f / (float)(rows * columns);
            sum += d_y[(((u64)n * s.out_h + p) * s.out_w + q) * s.channels + c] * share;
        }
    }
    d_x[i] = sum;
}
