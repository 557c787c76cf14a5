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

// Of each picture `rows (height, side, 3)` from its `levels (height, columns, 3)`, mirrored if it is to
// be: a thread a pixel, and for each picture so many `blocks`.
extern "C" __global__ void picture_widths(u8* rows, const u8* levels, const u32* filters, const u32* pictures, u32 side, u32 blocks) {
    const Picture& picture = ((const Picture*)pictures)[blockIdx.x / blocks];
    u32 i = blockIdx.x % blocks * blockDim.x + threadIdx.x;
    u32 row = i / side, x = i % side;
    if (row >= picture.height) return;
    u32 at = picture.flip ? side - 1 - x : x;
    u32 taps = picture.across.taps;
    const u32* own = filters + picture.across.filter;
    const u32* weights = own + side + (u64)at * taps;
    const u8* seen = levels + (u64)picture.levels * PIECE + ((u64)row * picture.columns + own[at]) * 3;
    u32 red = HALF_LEVEL, green = HALF_LEVEL, blue = HALF_LEVEL;
    for (u32 tap = 0; tap < taps; ++tap, seen += 3) {
        u32 weight = weights[tap];
        red += seen[0] * weight;
        green += seen[1] * weight;
        blue += seen[2] * weight;
    }
    u8* place = rows + (u64)picture.rows * PIECE + (u64)i * 3;
    place[0] = (u8)(red >> WEIGHT_BITS);
    place[1] = (u8)(green >> WEIGHT_BITS);
    place[2] = (u8)(blue >> WEIGHT_BITS);
}

// `y (N, side, side, 3)` from the `rows` of as many pictures, normalised: the difference and the
// product each rounded, as on every other device.
extern "C" __global__ void picture_heights(value* y, const u8* rows, const u32* filters, const u32* pictures, u32 side, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len), row = side * 3;
    u64 n = begin / ((u64)side * row);
    u32 at = (u32)(begin / row % side), column = (u32)(begin % row);
    Eight run;
    for (u32 k = 0; k < EIGHT; ++k) {
        if (k >= count) continue;
        const Picture& picture = ((const Picture*)pictures)[n];
        u32 taps = picture.down.taps, colour = column % 3, sum = HALF_LEVEL;
        const u32* own = filters + picture.down.filter;
        const u32* weights = own + side + (u64)at * taps;
        const u8* seen = rows + (u64)picture.rows * PIECE + (u64)own[at] * row + column;
        for (u32 tap = 0; tap < taps; ++tap, seen += row) sum += *seen * weights[tap];
        float level = (float)(sum >> WEIGHT_BITS);
        run.at[k] = __fmul_rn(__fsub_rn(level, picture.mean[colour]), picture.scale[colour]);
        if (++column < row) continue;
        column = 0;
        if (++at < side) continue;
        at = 0;
        ++n;
    }
    write_run(y + begin, run, count);
}
