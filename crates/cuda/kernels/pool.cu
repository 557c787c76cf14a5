// Max pooling with the place of each maximum, and adaptive average pooling. One thread for
// eight channels of an output forward, of an input backward: a thread of the backward pass gathers from all windows that its
// input lies in, so that none has to add to what another adds to.

// Eight bytes, or the first of them, as `read_run` and `write_run`; at once if they are known to be WHOLE.
template <bool WHOLE>
__device__ inline void read_bytes(u32 run[EIGHT], const u8* x, u32 count) {
    if (WHOLE || (count == EIGHT && (u64)x % 8 == 0)) {
        u64 packed = *(const u64*)x;
        for (u32 k = 0; k < EIGHT; ++k) run[k] = (u32)(packed >> 8 * k) & 0xff;
        return;
    }
    for (u32 k = 0; k < EIGHT; ++k) run[k] = k < count ? x[k] : 0xff;
}
__device__ inline void write_bytes(u8* y, const u32 run[EIGHT], u32 count) {
    if (count == EIGHT && (u64)y % 8 == 0) {
        u64 packed = 0;
        for (u32 k = 0; k < EIGHT; ++k) packed |= (u64)run[k] << 8 * k;
        *(u64*)y = packed;
        return;
    }
    for (u32 k = 0; k < EIGHT; ++k) {
        if (k < count) y[k] = (u8)run[k];
    }
}

struct MaxPool {
    u32 batch, in_h, in_w, out_h, out_w, channels, size, stride;
};

// How a thread of `len` finds its place: `width` neighbouring channels, 8 or 1, of one place.
struct Place {
    u32 channel, column, row, image;
};
__device__ inline Place place_of(u32 i, u32 channels, u32 width, u32 columns, u32 rows) {
    u32 runs = channels / width, at = i / runs;
    return {i % runs * width, at % columns, at / columns % rows, at / columns / rows};
}

// Places of a window that are on their way at a time. More of them leave room for fewer threads.
const u32 SEEN = 3;

// A position is `row * size + column` within the window; of equals the first.
template <bool WHOLE>
__device__ inline void max_pool(value* y, u8* positions, const value* x, const float* bias, const MaxPool& s, u32 width, u32 i) {
    Place at = place_of(i, s.channels, width, s.out_w, s.out_h);
    u32 first_row = at.row * s.stride, first_column = at.column * s.stride;
    // A window may stick out at the bottom and right. Behind its last place that one is seen once more,
    // which is never larger than itself.
    u32 rows = smaller(s.size, s.in_h - first_row), columns = smaller(s.size, s.in_w - first_column);
    const value* corner = x + (((u64)at.image * s.in_h + first_row) * s.in_w + first_column) * s.channels + at.channel;
    Eight best, seen = {};
    for (u32 k = 0; k < EIGHT; ++k) best.at[k] = __uint_as_float(0xff800000u); // minus infinity
    u32 position[EIGHT] = {}, row = 0, column = 0;
    for (u32 left = rows * columns; left > 0; left -= smaller(left, SEEN)) {
        Eight runs[SEEN];
        u32 here[SEEN];
        for (u32 j = 0; j < SEEN; ++j) {
            runs[j] = read_part<WHOLE>(corner + ((u64)row * s.in_w + column) * s.channels, width);
            here[j] = row * s.size + column;
            u32 wraps = column + 1 == columns, goes_on = j + 1 < left;
            row += goes_on & wraps;
            column = goes_on ? (wraps ? 0 : column + 1) : column;
        }
        for (u32 j = 0; j < SEEN; ++j) {
            for (u32 k = 0; k < EIGHT; ++k) {
                bool better = runs[j].at[k] > best.at[k];
                best.at[k] = better ? runs[j].at[k] : best.at[k];
                position[k] = better ? here[j] : position[k];
                seen.at[k] += spoilt(runs[j].at[k]);
            }
        }
    }
    for (u32 k = 0; k < EIGHT; ++k) best.at[k] += seen.at[k];
    if (bias) {
        Eight sum = read_run(bias + at.channel, width);
        for (u32 k = 0; k < EIGHT; ++k) best.at[k] = rectified(best.at[k] + sum.at[k]);
    }
    u64 first = (u64)i * width;
    write_run(y + first, best, width);
    write_bytes(positions + first, position, width);
}
__device__ inline void max_pool_of(value* y, u8* positions, const value* x, const float* bias, const MaxPool& s, u32 width, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    if (are_whole(x, width)) max_pool<true>(y, positions, x, bias, s, width, i);
    else max_pool<false>(y, positions, x, bias, s, width, i);
}
extern "C" __global__ void max_pool_forward(value* y, u8* positions, const value* x, MaxPool s, u32 width, u32 len) {
    max_pool_of(y, positions, x, nullptr, s, width, len);
}
// Of a convolution's sums, to which its bias and ReLU are still to come: neither makes another one
// the largest.
extern "C" __global__ void bias_max_pool_forward(value* y, u8* positions, const value* x, const float* bias, MaxPool s, u32 width, u32 len) {
    max_pool_of(y, positions, x, bias, s, width, len);
}

// Of a window its gradient and where its maximum was; of the gradient what the maximum lets through, where
// that passed a ReLU, and all of it where there was none.
struct Window {
    Eight gradient;
    u32 position[EIGHT];
};
template <bool RECTIFIED, bool WHOLE>
__device__ inline Window window_at(const value* d_y, const value* rectified, const u8* positions, u64 place, u32 width) {
    Window window = {read_part<WHOLE>(d_y + place, width)};
    read_bytes<WHOLE>(window.position, positions + place, width);
    if (!RECTIFIED) return window;
    Eight maximum = read_part<WHOLE>(rectified + place, width);
    for (u32 k = 0; k < EIGHT; ++k) window.gradient.at[k] = maximum.at[k] <= 0.0f ? 0.0f : window.gradient.at[k];
    return window;
}
__device__ inline void add_where(Eight& sum, const Window& window, u32 here) {
    for (u32 k = 0; k < EIGHT; ++k) sum.at[k] += window.position[k] == here ? window.gradient.at[k] : 0.0f;
}

template <bool RECTIFIED>
__device__ inline void max_pool_back(value* d_x, const value* d_y, const value* rectified, const u8* positions, const MaxPool& s, u32 width, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    Place at = place_of(i, s.channels, width, s.in_w, s.in_h);
    u32 row = at.row, column = at.column;
    // Windows `first .. last` begin at or before this row and reach over it.
    u32 first_p = row < s.size ? 0 : (row - s.size) / s.stride + 1;
    u32 first_q = column < s.size ? 0 : (column - s.size) / s.stride + 1;
    u32 last_p = smaller(row / s.stride + 1, s.out_h), last_q = smaller(column / s.stride + 1, s.out_w);
    Eight sum = {};
    for (u32 p = first_p; p < last_p; ++p) {
        for (u32 q = first_q; q < last_q; ++q) {
            u64 place = (((u64)at.image * s.out_h + p) * s.out_w + q) * s.channels + at.channel;
            Window window = window_at<RECTIFIED, false>(d_y, rectified, positions, place, width);
            add_where(sum, window, (row - p * s.stride) * s.size + (column - q * s.stride));
        }
    }
    write_run(d_x + (u64)i * width, sum, width);
}

// The same where windows begin at every second row and column: one thread for eight channels of two
// inputs by two, which lie in the same windows, so that each window is read once for all four. Two
// windows by two are on their way at a time; in place of one that is not there, another is read.
template <bool RECTIFIED, bool WHOLE>
__device__ inline void max_pool_back_by_two(value* d_x, const value* d_y, const value* rectified, const u8* positions, const MaxPool& s, u32 width, u32 i) {
    Place at = place_of(i, s.channels, width, (s.in_w + 1) / 2, (s.in_h + 1) / 2);
    // Windows that begin before these inputs and reach them, the farthest first.
    u32 windows = (s.size + 1) / 2;
    Eight sum[2][2] = {};
    for (u32 up = windows; up > 0; up -= smaller(up, 2)) {
        for (u32 left = windows; left > 0; left -= smaller(left, 2)) {
            Window seen[4];
            for (u32 j = 0; j < 4; ++j) {
                u32 p = at.row - (up - 1) + j / 2, q = at.column - (left - 1) + j % 2;
                // Below 0 is beyond the last.
                u64 row = (u64)at.image * s.out_h + smaller(p, s.out_h - 1);
                u64 place = (row * s.out_w + smaller(q, s.out_w - 1)) * s.channels + at.channel;
                seen[j] = window_at<RECTIFIED, WHOLE>(d_y, rectified, positions, place, width);
            }
            for (u32 j = 0; j < 4; ++j) {
                if (up - 1 < j / 2 || left - 1 < j % 2) continue;
                u32 rows_up = up - 1 - j / 2, columns_left = left - 1 - j % 2;
                if (at.row - rows_up >= s.out_h || at.column - columns_left >= s.out_w) continue;
                for (u32 k = 0; k < 4; ++k) {
                    u32 row = 2 * rows_up + k / 2, column = 2 * columns_left + k % 2;
                    if (row < s.size && column < s.size) add_where(sum[k / 2][k % 2], seen[j], row * s.size + column);
                }
            }
        }
    }
    for (u32 k = 0; k < 4; ++k) {
        u32 row = 2 * at.row + k / 2, column = 2 * at.column + k % 2;
        if (row >= s.in_h || column >= s.in_w) continue;
        u64 place = ((u64)at.image * s.in_h + row) * s.in_w + column;
        write_run(d_x + place * s.channels + at.channel, sum[k / 2][k % 2], width);
    }
}
template <bool RECTIFIED>
__device__ inline void max_pool_back_by_two_of(value* d_x, const value* d_y, const value* rectified, const u8* positions, const MaxPool& s, u32 width, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    if (are_whole(d_y, width) && are_whole(rectified, width) && (u64)positions % 8 == 0) {
        max_pool_back_by_two<RECTIFIED, true>(d_x, d_y, rectified, positions, s, width, i);
    } else {
        max_pool_back_by_two<RECTIFIED, false>(d_x, d_y, rectified, positions, s, width, i);
    }
}

extern "C" __global__ void max_pool_backward(value* d_x, const value* d_y, const u8* positions, MaxPool s, u32 width, u32 len) {
    max_pool_back<false>(d_x, d_y, nullptr, positions, s, width, len);
}
extern "C" __global__ void max_pool_backward_by_two(value* d_x, const value* d_y, const u8* positions, MaxPool s, u32 width, u32 len) {
    max_pool_back_by_two_of<false>(d_x, d_y, nullptr, positions, s, width, len);
}
extern "C" __global__ void rectified_max_pool_backward(value* d_x, const value* d_y, const value* y, const u8* positions, MaxPool s, u32 width, u32 len) {
    max_pool_back<true>(d_x, d_y, y, positions, s, width, len);
}
extern "C" __global__ void rectified_max_pool_backward_by_two(value* d_x, const value* d_y, const value* y, const u8* positions, MaxPool s, u32 width, u32 len) {
    max_pool_back_by_two_of<true>(d_x, d_y, y, positions, s, width, len);
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

extern "C" __global__ void average_pool_forward(value* y, const value* x, AveragePool s, u32 len) {
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
            sum += wide(x[(((u64)n * s.in_h + row) * s.in_w + column) * s.channels + c]) * share;
        }
    }
    put(y + i, sum);
}

extern "C" __global__ void average_pool_backward(value* d_x, const value* d_y, AveragePool s, u32 len) {
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
            sum += wide(d_y[(((u64)n * s.out_h + p) * s.out_w + q) * s.channels + c]) * share;
        }
    }
    put(d_x + i, sum);
}
