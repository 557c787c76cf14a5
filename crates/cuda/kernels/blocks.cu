// A convolution over few maps as one over many. Tensor cores multiply runs of eight channels, cuDNN's
// other engines want more than a few too, and the first layer has three; but it also has a stride. So
// its input is taken in blocks of `side x side` places, `side` the stride, which become the channels
// of one place: 48 of 4 x 4 pixels of three colours. Windows then begin at every block, a kernel of 11
// taps is one of 3 blocks whose last tap is a zero, and what was a convolution of 3 channels with
// stride 4 is one of 48 with stride 1. Padding becomes part of the blocks. With a stride of 1 a block
// is one place, and channels are only made up to a multiple of eight.

struct Blocks {
    u32 in_h, in_w, in_c, kernel, pad, side, rows, columns, channels, taps;
};

// `blocks (N, rows, columns, channels)` from `x (N, H, W, C)`, a thread for eight channels. Those of
// one row of a block stand side by side in x too.
extern "C" __global__ void block_input(value* blocks, const value* x, Blocks s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 runs = s.channels / EIGHT, channel = i % runs * EIGHT, place = i / runs;
    u32 column = place % s.columns, row = place / s.columns % s.rows, n = place / s.columns / s.rows;
    u32 line = s.side * s.in_c, in_row = channel / line, at = channel % line;
    // Counted from where the padding begins.
    u32 left = column * line, padded = s.pad * s.in_c, width = s.in_w * s.in_c;
    Eight run = {};
    for (u32 k = 0; k < EIGHT; ++k) {
        u32 h = row * s.side + in_row, w = left + at;
        bool inside = in_row < s.side && h >= s.pad && h - s.pad < s.in_h && w >= padded && w - padded < width;
        if (inside) run.at[k] = wide(x[((u64)n * s.in_h + h - s.pad) * width + w - padded]);
        if (++at == line) {
            at = 0;
            ++in_row;
        }
    }
    write_run(blocks + (u64)i * EIGHT, run, EIGHT);
}

// Which of the weights `(K, R, S, C)` is weight `i` of blocks, `(K, taps, taps, channels)`; `NONE`
// where a block reaches beyond the kernel, or has channels to make up eight.
const u32 NONE = 0xffffffffu;
__device__ inline u32 weight_of_block(u32 i, Blocks s) {
    u32 channel = i % s.channels, tap = i / s.channels;
    u32 column = tap % s.taps, row = tap / s.taps % s.taps, k = tap / s.taps / s.taps;
    u32 c = channel % s.in_c, within = channel / s.in_c;
    u32 w = column * s.side + within % s.side, h = row * s.side + within / s.side;
    if (within >= s.side * s.side || h >= s.kernel || w >= s.kernel) return NONE;
    return ((k * s.kernel + h) * s.kernel + w) * s.in_c + c;
}

extern "C" __global__ void block_weights(value* blocks, const float* weights, Blocks s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 weight = weight_of_block(i, s);
    put(blocks + i, weight == NONE ? 0.0f : weights[weight]);
}

extern "C" __global__ void unblock_weights(float* weights, const value* blocks, Blocks s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 weight = weight_of_block(i, s);
    if (weight != NONE) weights[weight] = wide(blocks[i]);
}
