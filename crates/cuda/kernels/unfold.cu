// A convolution as matrix products: the input of every window is laid out as a row, one beside the
// other, and the layer becomes `rows x weights`. The layer's 9, 25 or 121 reads of an input become
// as many copies; that costs memory, which is why images are taken a few at a time.

struct Conv {
    u32 in_h, in_w, in_c, out_h, out_w, kernel, stride, pad, groups;
};

// `columns (groups, N * P * Q, R, S, C / groups)` from `x (N, H, W, C)`, one thread an element. Taps
// outside the input are zeros.
__device__ inline value unfolded(const value* x, Conv s, u32 rows, u32 i) {
    u32 maps = s.in_c / s.groups;
    u32 c = i % maps, tap = i / maps;
    u32 column_tap = tap % s.kernel, row_tap = tap / s.kernel % s.kernel;
    u32 row = tap / s.kernel / s.kernel % rows, group = tap / s.kernel / s.kernel / rows;
    u32 q = row % s.out_w, p = row / s.out_w % s.out_h, n = row / s.out_w / s.out_h;
    // `pad` more than the place in the input.
    u32 h = p * s.stride + row_tap, w = q * s.stride + column_tap;
    if (h < s.pad || w < s.pad || h - s.pad >= s.in_h || w - s.pad >= s.in_w) return 0;
    return x[(((u64)n * s.in_h + h - s.pad) * s.in_w + w - s.pad) * s.in_c + group * maps + c];
}

extern "C" __global__ void unfold(value* columns, const value* x, Conv s, u32 rows, u32 len) {
    u32 i = (u32)thread_number();
    if (i < len) columns[i] = unfolded(x, s, rows, i);
}

// The way back: the gradient of an input is the sum over all copies of it, in the order of taps. One
// thread an input.
extern "C" __global__ void fold(value* d_x, const float* columns, Conv s, u32 rows, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 channel = i % s.in_c, place = i / s.in_c;
    u32 column = place % s.in_w, row = place / s.in_w % s.in_h, n = place / s.in_w / s.in_h;
    u32 maps = s.in_c / s.groups, group = channel / maps, c = channel % maps;
    float sum = 0.0f;
    for (u32 r = 0; r < s.kernel; ++r) {
        // The window whose tap r lies on this row, if there is one.
        u32 top = row + s.pad - r, p = top / s.stride;
        if (row + s.pad < r || p * s.stride != top || p >= s.out_h) continue;
        for (u32 t = 0; t < s.kernel; ++t) {
            u32 left = column + s.pad - t, q = left / s.stride;
            if (column + s.pad < t || q * s.stride != left || q >= s.out_w) continue;
            u64 window = ((u64)n * s.out_h + p) * s.out_w + q;
            sum += columns[((((u64)group * rows + window) * s.kernel + r) * s.kernel + t) * maps + c];
        }
    }
    put(d_x + i, sum);
}
