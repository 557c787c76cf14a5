// Images come as bytes, and become the network's numbers here: resized, mirrored, normalised.
//
// What a picture is made of, a cut of its image, is what its filters see and no more. The filters are
// Pillow's (`resample.rs` of `ops` is the rule): weights in double, each operation rounded, then whole;
// so that all sums after that are of whole numbers, and the same on every device.

#ifndef __CUDACC__
// Elsewhere nothing joins a product and a sum.
#define __fsub_rn(a, b) ((a) - (b))
#define __fmul_rn(a, b) ((a) * (b))
#define __dadd_rn(a, b) ((a) + (b))
#define __dsub_rn(a, b) ((a) - (b))
#define __dmul_rn(a, b) ((a) * (b))
#define __ddiv_rn(a, b) ((a) / (b))
#endif

// Bits of a weight behind the point, and half a level.
const u32 WEIGHT_BITS = 22;
const u32 HALF_LEVEL = 1u << (WEIGHT_BITS - 1);
// What belongs to a picture begins at a multiple of so many bytes.
const u32 PIECE = 16;

// How the places of a picture lie along an axis of its image, in pixels; how many each sees, and the
// last from which on there are as many; the first of the cut; where in `filters` its filter is: for
// each place the first pixel of the cut that it sees, then the weights of each.
struct Axis {
    double start, scale, support;
    u32 taps, first_max, first, filter;
};

// Where its levels and its rows begin, in `PIECE`s, and the size of the cut. `images.rs` writes it.
struct Picture {
    Axis across, down;
    float mean[3], scale[3];
    u32 levels, rows, columns, height, flip, unused;
};

__device__ inline double weight_of(u32 pixel, double centre, double per_support) {
    double distance = __dmul_rn(__dadd_rn(__dsub_rn((double)pixel, centre), 0.5), per_support);
    double weight = __dsub_rn(1.0, fabs(distance));
    return weight > 0.0 ? weight : 0.0;
}

// The filters of all pictures, across and down: a thread for each of `len` places.
extern "C" __global__ void picture_filters(u32* filters, const u32* pictures, u32 side, u64 len) {
    u64 i = thread_number();
    if (i >= len) return;
    u32 at = (u32)(i % side);
    u64 number = i / side;
    const Picture& picture = ((const Picture*)pictures)[number / 2];
    const Axis& axis = number % 2 == 0 ? picture.across : picture.down;
    double centre = __dadd_rn(axis.start, __dmul_rn(__dadd_rn((double)at, 0.5), axis.scale));
    double begin = __dadd_rn(__dsub_rn(centre, axis.support), 0.5);
    u32 first = smaller(begin > 0.0 ? (u32)begin : 0, axis.first_max);
    double per_support = __ddiv_rn(1.0, axis.support), sum = 0.0;
    for (u32 tap = 0; tap < axis.taps; ++tap) {
        sum = __dadd_rn(sum, weight_of(first + tap, centre, per_support));
    }
    u32* own = filters + axis.filter;
    own[at] = first - axis.first;
    u32* weights = own + side + (u64)at * axis.taps;
    for (u32 tap = 0; tap < axis.taps; ++tap) {
        double share = __ddiv_rn(weight_of(first + tap, centre, per_support), sum);
        weights[tap] = (u32)__dadd_rn(__dmul_rn(share, (double)(1u << WEIGHT_BITS)), 0.5);
    }
}

// Rows of which one thread makes a pixel each: what it needs of the filter is the same for all. Of
// neighbours in a row it would not be, and threads side by side would read far apart.
const u32 PICTURE_ROWS = 4;

// Of each picture `rows (height, side, 3)` from its `levels (height, columns, 3)`, mirrored if it is to
// be: a thread a pixel of a few rows, and for each picture so many `blocks`.
extern "C" __global__ void picture_widths(u8* rows, const u8* levels, const u32* filters, const u32* pictures, u32 side, u32 blocks) {
    const Picture& picture = ((const Picture*)pictures)[blockIdx.x / blocks];
    u32 i = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    u32 first = i / side * PICTURE_ROWS, x = i % side;
    if (first >= picture.height) return;
    u32 at = picture.flip ? side - 1 - x : x;
    u32 taps = picture.across.taps;
    const u32* own = filters + picture.across.filter;
    const u32* weights = own + side + (u64)at * taps;
    const u8* seen[PICTURE_ROWS];
    u8* made[PICTURE_ROWS];
    u32 sums[PICTURE_ROWS][3];
    for (u32 k = 0; k < PICTURE_ROWS; ++k) {
        // The last once more in place of what would stand behind it.
        u64 row = smaller(first + k, picture.height - 1);
        seen[k] = levels + (u64)picture.levels * PIECE + (row * picture.columns + own[at]) * 3;
        made[k] = rows + (u64)picture.rows * PIECE + (row * side + x) * 3;
        for (u32 colour = 0; colour < 3; ++colour) sums[k][colour] = HALF_LEVEL;
    }
    for (u32 tap = 0; tap < taps; ++tap) {
        u32 weight = weights[tap];
        for (u32 k = 0; k < PICTURE_ROWS; ++k) {
            for (u32 colour = 0; colour < 3; ++colour) sums[k][colour] += seen[k][colour] * weight;
            seen[k] += 3;
        }
    }
    for (u32 k = 0; k < PICTURE_ROWS; ++k) {
        for (u32 colour = 0; colour < 3; ++colour) made[k][colour] = (u8)(sums[k][colour] >> WEIGHT_BITS);
    }
}

// The first `count` of eight bytes, the first lowest, the others 0: all of them are in two words that
// the memory gives at once, wherever they begin.
__device__ inline u64 read_levels(const u8* x, u32 count) {
    if (count == EIGHT) {
        const u64* words = (const u64*)((u64)x / EIGHT * EIGHT);
        u32 behind = (u32)((u64)x % EIGHT) * 8;
        return behind == 0 ? words[0] : words[0] >> behind | words[1] << (64 - behind);
    }
    u64 bytes = 0;
    for (u32 k = 0; k < EIGHT; ++k) {
        if (k < count) bytes |= (u64)x[k] << (8 * k);
    }
    return bytes;
}

// What a thread makes of a picture's row, `count` neighbours from `column` on. Rows of odd pictures begin
// anywhere, but runs where the memory takes eight numbers at once: a row's first and last are parts of
// eight, and of its `runs` some may be none.
struct PartOfRow {
    u32 at, column, count;
};
__device__ inline PartOfRow part_of_row(u32 n, u32 i, u32 side, u32 runs) {
    u32 row = side * 3, at = i / runs;
    u32 before = (u32)(((u64)n * side + at) * row % EIGHT), begin = i % runs * EIGHT;
    u32 column = begin < before ? 0 : begin - before, end = smaller(row, begin + EIGHT - before);
    return {at, column, at < side && column < end ? end - column : 0};
}

// A level as the network has it: the difference and the product each rounded, as on every other device.
__device__ inline float normalised(u32 level, float mean, float scale) {
    return __fmul_rn(__fsub_rn((float)level, mean), scale);
}

// Eight neighbours of a picture's row, or `count`, the first that of `column`, from their levels, normalised.
__device__ inline void write_levels(value* y, const u32 levels[EIGHT], const Picture& picture, u32 column, u32 count) {
    // Of the colours in the order in which they come here.
    float mean[3], scale[3];
    for (u32 k = 0; k < 3; ++k) {
        mean[k] = picture.mean[(column + k) % 3];
        scale[k] = picture.scale[(column + k) % 3];
    }
    Eight run;
    for (u32 k = 0; k < EIGHT; ++k) {
        run.at[k] = normalised(levels[k], mean[k % 3], scale[k % 3]);
    }
    write_run(y, run, count);
}

// `y (N, side, side, 3)` from the `rows` of as many pictures, normalised: a thread eight neighbours of
// one row, and for each picture so many `blocks`.
extern "C" __global__ void picture_heights(value* y, const u8* rows, const u32* filters, const u32* pictures, u32 side, u32 runs, u32 blocks) {
    u32 n = blockIdx.x / blocks, row = side * 3;
    PartOfRow part = part_of_row(n, blockIdx.x % blocks * blockDim.x + threadIdx.x, side, runs);
    if (part.count == 0) return;
    const Picture& picture = ((const Picture*)pictures)[n];
    u32 taps = picture.down.taps;
    const u32* own = filters + picture.down.filter;
    const u32* weights = own + side + (u64)part.at * taps;
    const u8* seen = rows + (u64)picture.rows * PIECE + (u64)own[part.at] * row + part.column;
    u32 sums[EIGHT];
    for (u32 k = 0; k < EIGHT; ++k) sums[k] = HALF_LEVEL;
    for (u32 tap = 0; tap < taps; ++tap, seen += row) {
        u32 weight = weights[tap];
        u64 bytes = read_levels(seen, part.count);
        for (u32 k = 0; k < EIGHT; ++k) sums[k] += (u8)(bytes >> (8 * k)) * weight;
    }
    for (u32 k = 0; k < EIGHT; ++k) sums[k] >>= WEIGHT_BITS;
    write_levels(y + ((u64)n * side + part.at) * row + part.column, sums, picture, part.column, part.count);
}

// The pixel of the cut that a place is, where places are pixels.
__device__ inline u32 pixel_of(const Axis& axis, u32 at) {
    return (u32)axis.start - axis.first + at;
}

// The same of pictures that are their windows as they are, from the `levels` themselves: what the three
// kernels above make of them, to the bit.
extern "C" __global__ void picture_levels(value* y, const u8* levels, const u32* pictures, u32 side, u32 runs, u32 blocks) {
    u32 n = blockIdx.x / blocks;
    PartOfRow part = part_of_row(n, blockIdx.x % blocks * blockDim.x + threadIdx.x, side, runs);
    if (part.count == 0) return;
    const Picture& picture = ((const Picture*)pictures)[n];
    u64 pixel = (u64)pixel_of(picture.down, part.at) * picture.columns + pixel_of(picture.across, 0);
    const u8* seen = levels + (u64)picture.levels * PIECE + pixel * 3;
    u32 run[EIGHT] = {};
    if (picture.flip) {
        for (u32 k = 0; k < part.count; ++k) {
            u32 at = part.column + k;
            run[k] = seen[(side - 1 - at / 3) * 3 + at % 3];
        }
    } else {
        u64 bytes = read_levels(seen + part.column, part.count);
        for (u32 k = 0; k < EIGHT; ++k) run[k] = (u8)(bytes >> (8 * k));
    }
    write_levels(y + ((u64)n * side + part.at) * side * 3 + part.column, run, picture, part.column, part.count);
}
