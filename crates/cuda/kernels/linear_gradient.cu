// The gradient of a linear layer's weights, `d_weights (outputs, inputs) = d_y^T (outputs, batch) . x
// (batch, inputs)`, formed in the matrix units and used up where it was formed: the update of the
// weights reads it out of registers, and it never is in memory. A layer has millions of weights and
// few images, so what takes time is to read and write weights and velocities; the product hides
// behind that.
//
// A block of eight warps, as many as every launch has, forms a square of SIDE outputs by SIDE inputs,
// each warp 64 by 32 of it. The factors come through shared memory, DEPTH images at a time, the next
// while these are multiplied. Both have images one below the other, and so both are read turned. Widths
// are multiples of eight, so that eight neighbours are there or not as one.

struct LinearShape {
    u32 batch, outputs, inputs;
};

const u32 SIDE = 128;
const u32 DEPTH = 32;
// So long that eight rows one below the other begin in different banks.
const u32 PITCH = SIDE + 8;
const u32 THREADS = 256;
const u32 WARP = 32;
// Of a warp's share of the square.
const u32 TALL = 64;
const u32 BROAD = 32;
// Rows of it that leave the registers together, and how far apart they lie then.
const u32 SLICE = 16;
const u32 SLICE_PITCH = BROAD + 4;

// Some images of both factors.
struct Stage {
    u16 d_y[DEPTH * PITCH];
    u16 x[DEPTH * PITCH];
};

// A warp's share of the square: sums [i][j] are rows 16 i .. and columns 8 j .. of it.
struct Sums {
    float at[TALL / 16][BROAD / 8][4];
};

// Where a block's square begins.
struct Corner {
    u64 output, input;
};
__device__ inline Corner corner(const LinearShape& s) {
    u32 across = (s.inputs + SIDE - 1) / SIDE;
    return {(u64)(blockIdx.x / across) * SIDE, (u64)(blockIdx.x % across) * SIDE};
}

// Rows `first ..` of the square's columns of a factor that is `width` wide, on their way.
__device__ inline void fetch(u16* stage, const u16* factor, u32 first, u32 batch, u64 column, u32 width) {
    const u32 RUNS = SIDE / EIGHT;
    for (u32 i = threadIdx.x; i < DEPTH * RUNS; i += THREADS) {
        u32 row = i / RUNS, within = i % RUNS * EIGHT;
        bool is_there = first + row < batch && column + within < width;
        const u16* from = is_there ? factor + (u64)(first + row) * width + column + within : factor;
        begin_copy(stage + row * PITCH + within, from, is_there);
    }
}
__device__ inline void fetch(Stage* stage, const u16* d_y, const u16* x, u32 first, const LinearShape& s) {
    Corner at = corner(s);
    fetch(stage->d_y, d_y, first, s.batch, at.output, s.outputs);
    fetch(stage->x, x, first, s.batch, at.input, s.inputs);
}

// Adds the products of a stage's images to a warp's sums.
__device__ inline void multiply_stage(Sums& sums, const Stage& stage, u32 tall, u32 broad) {
    u32 lane = threadIdx.x % WARP, matrix = lane / 8, row = lane % 8;
    for (u32 depth = 0; depth < DEPTH; depth += 16) {
        Quarters a[TALL / 16];
        // Matrices 0 and 1 are neighbours in outputs, those and the other two in depth.
        const u16* from = stage.d_y + (depth + matrix / 2 * 8 + row) * PITCH + tall + matrix % 2 * 8;
        for (u32 i = 0; i < TALL / 16; ++i) a[i] = load_turned(from + 16 * i);
        // Matrices 0 and 1 are neighbours in depth, those and the other two in inputs.
        from = stage.x + (depth + matrix % 2 * 8 + row) * PITCH + broad + matrix / 2 * 8;
        for (u32 j = 0; j < BROAD / 8; j += 2) {
            Quarters b = load_turned(from + 8 * j);
            for (u32 i = 0; i < TALL / 16; ++i) {
                multiply_add(sums.at[i][j], a[i], b.part[0], b.part[1]);
                multiply_add(sums.at[i][j + 1], a[i], b.part[2], b.part[3]);
            }
        }
    }
}

// Forms the square, and gives the gradient to `use`, four neighbours of a row and four of another at a time,
// with their places.
template <class USE>
__device__ inline void outer_product(float* shared, const u16* d_y, const u16* x, const LinearShape& s, USE use) {
    Stage* stages = (Stage*)shared;
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 tall = warp / (SIDE / BROAD) * TALL, broad = warp % (SIDE / BROAD) * BROAD;
    Sums sums = {};
    fetch(stages, d_y, x, 0, s);
    end_copies();
    for (u32 first = 0, turn = 0; first < s.batch; first += DEPTH, turn ^= 1) {
        if (first + DEPTH < s.batch) fetch(stages + (turn ^ 1), d_y, x, first + DEPTH, s);
        end_copies();
        await_copies_but_last();
        __syncthreads();
        multiply_stage(sums, stages[turn], tall, broad);
        __syncthreads();
    }
    // By way of shared memory, for a thread's sums are not neighbours: nobody needs the stages now.
    float* slice = shared + warp * SLICE * SLICE_PITCH;
    Corner at = corner(s);
    for (u32 i = 0; i < TALL / SLICE; ++i) {
        float* place = slice + lane / 4 * SLICE_PITCH + lane % 4 * 2;
        for (u32 j = 0; j < BROAD / 8; ++j) {
            for (u32 k = 0; k < 4; ++k) place[k / 2 * 8 * SLICE_PITCH + 8 * j + k % 2] = sums.at[i][j][k];
        }
        __syncwarp();
        // Rows of eight outputs are there or not as one.
        for (u32 row = lane / 8; row < SLICE; row += 2 * FOUR) {
            u64 output = at.output + tall + i * SLICE + row, input = at.input + broad + lane % 8 * FOUR;
            if (output >= s.outputs || input >= s.inputs) continue;
            const float* formed = slice + row * SLICE_PITCH + lane % 8 * FOUR;
            u64 one = output * s.inputs + input;
            use(one, one + FOUR * s.inputs, read_fours<true>(formed, formed + FOUR * SLICE_PITCH));
        }
        __syncwarp();
    }
}

// Has the second cache fetch the square of an array that is read after the product. Of one array: squares
// of two, for all blocks that run at a time, would be most of what it holds.
__device__ inline void expect_square(const float* array, const LinearShape& s) {
    const u32 LINE = 128 / sizeof(float);
    Corner at = corner(s);
    for (u32 i = threadIdx.x; i < SIDE * SIDE / LINE; i += THREADS) {
        u64 output = at.output + i / (SIDE / LINE), input = at.input + i % (SIDE / LINE) * LINE;
        if (output < s.outputs && input < s.inputs) expect(array + output * s.inputs + input);
    }
}

template <Step STEP>
__device__ inline void updated(float* shared, float* weights, float* velocity, u16* rounded, const u16* d_y, const u16* x, const LinearShape& s, float rate, float momentum, float decay) {
    expect_square(weights, s);
    bool whole = are_whole_fours(weights, velocity, rounded);
    outer_product(shared, d_y, x, s, [=](u64 one, u64 other, const Eight& gradient) {
        if (whole) sgd_fours<STEP, true>(weights, velocity, rounded, one, other, gradient, rate, momentum, decay);
        else sgd_fours<STEP, false>(weights, velocity, rounded, one, other, gradient, rate, momentum, decay);
    });
}

extern "C" __global__ void linear_update_paper(float* weights, float* velocity, u16* rounded, const u16* d_y, const u16* x, LinearShape s, float rate, float momentum, float decay, const u32* verdict) {
    alignas(16) extern __shared__ float shared[];
    if (*verdict) updated<paper_step>(shared, weights, velocity, rounded, d_y, x, s, rate, momentum, decay);
}
extern "C" __global__ void linear_update_pytorch(float* weights, float* velocity, u16* rounded, const u16* d_y, const u16* x, LinearShape s, float rate, float momentum, float decay, const u32* verdict) {
    alignas(16) extern __shared__ float shared[];
    if (*verdict) updated<pytorch_step>(shared, weights, velocity, rounded, d_y, x, s, rate, momentum, decay);
}

// The same gradient kept, or added to what stands there.
extern "C" __global__ void linear_gradient(float* gradient, const u16* d_y, const u16* x, LinearShape s, u32 adds) {
    alignas(16) extern __shared__ float shared[];
    bool whole = are_whole_fours(gradient);
    outer_product(shared, d_y, x, s, [=](u64 one, u64 other, const Eight& formed) {
        Eight sum = formed;
        if (adds) {
            Eight there = read_fours<false>(gradient + one, gradient + other);
            for (u32 k = 0; k < EIGHT; ++k) sum.at[k] += there.at[k];
        }
        if (whole) write_fours<true>(gradient + one, gradient + other, sum);
        else write_fours<false>(gradient + one, gradient + other, sum);
    });
}
