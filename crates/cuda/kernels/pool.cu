// Max pooling with the place of each maximum, and adaptive average pooling. A thread takes eight channels:
// forward of an output, backward of an input or of a square of them, for which it gathers from all windows
// that they lie in, so that none has to add to what another adds to.

// Eight bytes, or the first of them, as `read_run` and `write_run`.
__device__ inline u64 read_bytes(const u8* x, u32 count) {
    if (count == EIGHT && (u64)x % 8 == 0) return *(const u64*)x;
    u64 bytes = 0;
    for (u32 k = 0; k < EIGHT; ++k) bytes |= k < count ? (u64)x[k] << 8 * k : 0;
    return bytes;
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

// A position is `row * size + column` within the window; of equals the first. Such are less than 128, and
// so the highest bit says what a ReLU's way back asks of a maximum: so that need not be read again.
const u32 NOT_ABOVE_0 = 0x80;
const u64 EVERY_BYTE = 0x0101010101010101ull;

struct Maximum {
    Eight best, spoilt;
    u32 position[EIGHT];
};
__device__ inline Maximum nothing_yet() {
    Maximum maximum = {};
    for (u32 k = 0; k < EIGHT; ++k) maximum.best.at[k] = __uint_as_float(0xff800000u); // minus infinity
    return maximum;
}
__device__ inline void look_at(Maximum& maximum, const Packed<value>& run, u32 position) {
    for (u32 k = 0; k < EIGHT; ++k) {
        float number = number_of(run, k);
        bool better = number > maximum.best.at[k];
        maximum.best.at[k] = better ? number : maximum.best.at[k];
        maximum.position[k] = better ? position : maximum.position[k];
        maximum.spoilt.at[k] += spoilt(number);
    }
}

// Of the window whose first place is at `corner`, and which has so many rows and columns within the input.
__device__ inline Maximum largest_of(const value* corner, const MaxPool& s, u32 rows, u32 columns, u32 width) {
    Maximum maximum = nothing_yet();
    for (u32 row = 0; row < rows; ++row) {
        for (u32 column = 0; column < columns; ++column) {
            const value* place = corner + ((u64)row * s.in_w + column) * s.channels;
            look_at(maximum, packed<value>(read_run(place, width)), row * s.size + column);
        }
    }
    return maximum;
}
// The same of windows of three by three and whole runs, without a branch, so that no place waits for another.
// In place of one beyond the border another is looked at once more, which is never larger than itself.
__device__ inline Maximum largest_of_threes(const value* corner, const MaxPool& s, u32 rows, u32 columns) {
    Maximum maximum = nothing_yet();
    for (u32 row = 0; row < 3; ++row) {
        Packed<value> runs[3];
        for (u32 column = 0; column < 3; ++column) {
            u32 place = smaller(row, rows - 1) * s.in_w + smaller(column, columns - 1);
            runs[column] = read_packed(corner + place * s.channels);
        }
        for (u32 column = 0; column < 3; ++column) look_at(maximum, runs[column], row * 3 + column);
    }
    return maximum;
}

__device__ inline void max_pool(value* y, u8* positions, const value* x, const float* bias, const MaxPool& s, u32 width, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    Place at = place_of(i, s.channels, width, s.out_w, s.out_h);
    u32 first_row = at.row * s.stride, first_column = at.column * s.stride;
    // A window may stick out at the bottom and right.
    u32 rows = smaller(s.size, s.in_h - first_row), columns = smaller(s.size, s.in_w - first_column);
    const value* corner = x + (((u64)at.image * s.in_h + first_row) * s.in_w + first_column) * s.channels + at.channel;
    bool threes = s.size == 3 && are_whole(x, width);
    Maximum maximum = threes ? largest_of_threes(corner, s, rows, columns) : largest_of(corner, s, rows, columns, width);
    Eight best;
    for (u32 k = 0; k < EIGHT; ++k) best.at[k] = maximum.best.at[k] + maximum.spoilt.at[k];
    if (bias) {
        Eight sum = read_run(bias + at.channel, width);
        for (u32 k = 0; k < EIGHT; ++k) best.at[k] = rectified(best.at[k] + sum.at[k]);
    }
    Packed<value> stored = packed<value>(best);
    for (u32 k = 0; k < EIGHT; ++k) maximum.position[k] |= number_of(stored, k) <= 0.0f ? NOT_ABOVE_0 : 0;
    u64 first = (u64)i * width;
    write_run(y + first, best, width);
    write_bytes(positions + first, maximum.position, width);
}
extern "C" __global__ void max_pool_forward(value* y, u8* positions, const value* x, MaxPool s, u32 width, u32 len) {
    max_pool(y, positions, x, nullptr, s, width, len);
}
// Of a convolution's sums, to which its bias and ReLU are still to come: neither makes another one
// the largest.
extern "C" __global__ void bias_max_pool_forward(value* y, u8* positions, const value* x, const float* bias, MaxPool s, u32 width, u32 len) {
    max_pool(y, positions, x, bias, s, width, len);
}

// Of a window its gradient, and where its maximum was, a byte a channel. Both as they are read, which takes
// the fewest registers.
struct Window {
    Packed<value> gradient;
    u64 positions;
};
// Of maxima that passed a ReLU, those that are not above 0 let no gradient through: with their mark they are
// nowhere. Of others the mark says nothing.
__device__ inline u64 positions_of(u64 positions, u32 rectified) {
    return positions & (rectified ? ~0ull : ~(NOT_ABOVE_0 * EVERY_BYTE));
}
__device__ inline void add_where(Eight& sum, const Window& window, u32 here) {
    u64 others = window.positions ^ here * EVERY_BYTE;
    for (u32 k = 0; k < EIGHT; ++k) {
        if ((others & 0xffull << 8 * k) == 0) sum.at[k] += number_of(window.gradient, k);
    }
}

extern "C" __global__ void max_pool_backward(value* d_x, const value* d_y, const u8* positions, MaxPool s, u32 rectified, u32 width, u32 len) {
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
            Window window = {packed<value>(read_run(d_y + place, width)), read_bytes(positions + place, width)};
            window.positions = positions_of(window.positions, rectified);
            add_where(sum, window, (row - p * s.stride) * s.size + (column - q * s.stride));
        }
    }
    write_run(d_x + (u64)i * width, sum, width);
}

// The same of windows of three by three that begin at every second row and column, as all published tables
// have them. The inputs of a square of two by two lie in the same four windows: a thread takes eight channels
// of a square, and reads each window once for all four.
//
// What passed a ReLU is the gradient of a convolution's sums, and its sums down the channels are that of the
// bias: their first round, over squares, is formed here of what is stored, and nobody need read it again for
// them.

// The windows that begin at the square before, above and left, and at this one. In place of one that is not
// there another is read, whose maxima then are nowhere.
__device__ inline void read_windows(Window (&windows)[4], const value* d_y, const u8* positions, const MaxPool& s, u32 rectified, const Place& square) {
    for (u32 i = 0; i < 4; ++i) {
        // Below 0 is beyond the last.
        u32 p = square.row - 1 + i / 2, q = square.column - 1 + i % 2;
        u32 row = square.image * s.out_h + smaller(p, s.out_h - 1);
        u32 place = (row * s.out_w + smaller(q, s.out_w - 1)) * s.channels + square.channel;
        windows[i] = {read_packed(d_y + place), positions_of(*(const u64*)(positions + place), rectified)};
        windows[i].positions |= p < s.out_h && q < s.out_w ? 0 : ~0ull;
    }
}

// Writes the square, and adds what is stored to the sum.
__device__ inline void max_pool_back_square(Eight& sum, value* d_x, const value* d_y, const u8* positions, const MaxPool& s, u32 rectified, const Place& square) {
    Window windows[4];
    read_windows(windows, d_y, positions, s, rectified, square);
    for (u32 i = 0; i < 4; ++i) {
        u32 row = 2 * square.row + i / 2, column = 2 * square.column + i % 2;
        Eight gradient = {};
        for (u32 j = 0; j < 4; ++j) {
            u32 down = 2 * (1 - j / 2) + i / 2, right = 2 * (1 - j % 2) + i % 2;
            if (down < 3 && right < 3) add_where(gradient, windows[j], down * 3 + right);
        }
        if (row >= s.in_h || column >= s.in_w) continue;
        u32 place = ((square.image * s.in_h + row) * s.in_w + column) * s.channels + square.channel;
        Packed<value> stored = packed<value>(gradient);
        write_packed(d_x + place, stored);
        for (u32 k = 0; k < EIGHT; ++k) sum.at[k] += number_of(stored, k);
    }
}

extern "C" __global__ void max_pool_backward_of_threes(float* sums, value* d_x, const value* d_y, const u8* positions, MaxPool s, u32 rectified, u64 squares, Columns c) {
    alignas(16) extern __shared__ float shared[];
    u32 channel = column_of(c), columns = (s.in_w + 1) / 2, rows = (s.in_h + 1) / 2;
    Rows own = rows_of(squares, c);
    Eight sum[1] = {};
    for (u32 i = (u32)own.first; i < own.end; i += own.deep) {
        Place square = {channel, i % columns, i / columns % rows, i / columns / rows};
        max_pool_back_square(sum[0], d_x, d_y, positions, s, rectified, square);
    }
    fold_down(shared, sums, sum, own, c);
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
