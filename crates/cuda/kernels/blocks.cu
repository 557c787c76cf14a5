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

// Blocks of four by four pixels of three colours, those of the first layer, a thread for a row of four pixels:
// with less than half of the instructions, which in the one above take longer than the memory does.
const u32 COLOURS = 3;
const u32 LINE = 12;

// Line `i`: of which image, from which row and column on, which are beyond the last in the padding, and whether
// the row, and all four pixels, are in the image.
struct LineOfBlock {
    u32 n, h, w;
    bool is_there, is_whole;
};
__device__ inline LineOfBlock line_of_block(u32 i, const Blocks& s) {
    u32 place = i / FOUR, column = place % s.columns, row = place / s.columns % s.rows;
    u32 h = row * FOUR + i % FOUR - s.pad, w = column * FOUR - s.pad;
    bool is_there = h < s.in_h;
    return {place / s.columns / s.rows, h, w, is_there, is_there && w < s.in_w && w + FOUR <= s.in_w};
}

template <bool WHOLE>
__device__ inline void write_line(value* y, const float (&line)[LINE]) {
    for (u32 k = 0; k < LINE; k += FOUR) write_four<WHOLE>(y + k, line + k);
}
__device__ inline void write_line(value* blocks, u32 i, const float (&line)[LINE]) {
    if (are_whole_fours(blocks)) write_line<true>(blocks + (u64)i * LINE, line);
    else write_line<false>(blocks + (u64)i * LINE, line);
}

// The same as `block_input`.
extern "C" __global__ void block_lines(value* blocks, const value* x, Blocks s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    LineOfBlock of = line_of_block(i, s);
    const value* row = x + ((u64)of.n * s.in_h + of.h) * s.in_w * COLOURS;
    float line[LINE] = {};
    for (u32 k = 0; k < LINE && of.is_whole; ++k) line[k] = wide(row[of.w * COLOURS + k]);
    for (u32 k = 0; k < LINE && of.is_there && !of.is_whole; ++k) {
        u32 column = of.w + k / COLOURS;
        if (column < s.in_w) line[k] = wide(row[column * COLOURS + k % COLOURS]);
    }
    write_line(blocks, i, line);
}

// The levels of four pixels that stand side by side, wherever they begin, the first lowest: all of them are in
// three words of the memory, or parts of four.
struct LevelsOfLine {
    u32 words[COLOURS];
    __device__ u32 at(u32 k) const { return words[k / FOUR] >> (8 * (k % FOUR)) & 0xff; }
};
__device__ inline LevelsOfLine read_line(const u8* x) {
    const u32* words = (const u32*)((u64)x / FOUR * FOUR);
    u32 behind = (u32)((u64)x % FOUR) * 8;
    u64 last = behind == 0 ? 0 : words[3];
    u64 pairs[COLOURS] = {words[0] | (u64)words[1] << 32, words[1] | (u64)words[2] << 32, words[2] | last << 32};
    return {(u32)(pairs[0] >> behind), (u32)(pairs[1] >> behind), (u32)(pairs[2] >> behind)};
}

// The same of pictures that are their windows as they are, from their levels: what `picture_levels` makes of
// them, without its being written and read.
extern "C" __global__ void picture_lines(value* blocks, const u8* levels, const u32* pictures, Blocks s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    LineOfBlock of = line_of_block(i, s);
    float line[LINE] = {};
    if (of.is_there) {
        const Picture& picture = ((const Picture*)pictures)[of.n];
        u64 row = (u64)pixel_of(picture.down, of.h) * picture.columns + pixel_of(picture.across, 0);
        const u8* seen = levels + (u64)picture.levels * PIECE + row * COLOURS;
        // Mirrored, the last of the four is the first that stands there.
        u32 first = picture.flip ? s.in_w - FOUR - of.w : of.w, inside = 0xf;
        LevelsOfLine found = {};
        if (of.is_whole) {
            found = read_line(seen + first * COLOURS);
        } else {
            inside = 0;
            for (u32 k = 0; k < LINE; ++k) {
                u32 column = first + k / COLOURS;
                if (column >= s.in_w) continue;
                found.words[k / FOUR] |= (u32)seen[column * COLOURS + k % COLOURS] << (8 * (k % FOUR));
                inside |= 1u << k / COLOURS;
            }
        }
        for (u32 k = 0; k < FOUR; ++k) {
            u32 mirrored = FOUR - 1 - k;
            if (!(inside >> (picture.flip ? mirrored : k) & 1)) continue;
            for (u32 c = 0; c < COLOURS; ++c) {
                u32 level = picture.flip ? found.at(mirrored * COLOURS + c) : found.at(k * COLOURS + c);
                line[k * COLOURS + c] = normalised(level, picture.mean[c], picture.scale[c]);
            }
        }
    }
    write_line(blocks, i, line);
}

// `x` as it was; 0 where no window sees it, for there is no block of that.
extern "C" __global__ void unblock_input(value* x, const value* blocks, Blocks s, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.in_c, place = i / s.in_c;
    u32 w = place % s.in_w + s.pad, h = place / s.in_w % s.in_h + s.pad, n = place / s.in_w / s.in_h;
    u32 row = h / s.side, column = w / s.side;
    bool is_there = row < s.rows && column < s.columns;
    u32 channel = (h % s.side * s.side + w % s.side) * s.in_c + c;
    u64 block = ((u64)n * s.rows + row) * s.columns + column;
    put(x + i, is_there ? wide(blocks[block * s.channels + channel]) : 0.0f);
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
