// Sums and maxima over many numbers, the same bits every time: the program launches a kernel again on
// what it left until one is left, so the tree of additions depends on the length alone, and no atomic
// addition is needed.

// Sums down columns. A block takes `group` rows of `lanes` runs of `width` neighbouring columns, 8 or 1.
// Its threads stand `lanes` abreast and the others behind them, each row of threads taking every so
// manieth row of numbers; then the rows of threads are folded onto each other.
struct Columns {
    u32 columns, group, width, lanes;
};

// The first column of this thread's run; beyond the last where it has none.
__device__ inline u32 column_of(const Columns& s) {
    u32 across = (s.columns / s.width + s.lanes - 1) / s.lanes;
    return (blockIdx.x % across * s.lanes + threadIdx.x % s.lanes) * s.width;
}

// The rows of this thread: of its block's group `first`, and every `deep`th after it, until `end`.
struct Rows {
    u64 group, first, end;
    u32 behind, deep;
};
__device__ inline Rows rows_of(u64 rows, const Columns& s) {
    u32 behind = threadIdx.x / s.lanes, deep = blockDim.x / s.lanes;
    u64 group = blockIdx.x / ((s.columns / s.width + s.lanes - 1) / s.lanes), first = group * s.group;
    u64 end = first + s.group < rows ? first + s.group : rows;
    bool takes_part = column_of(s) < s.columns && behind < deep;
    return {group, first + behind, takes_part ? end : 0, behind, deep};
}

// What the block's threads summed up of N sums a column becomes `sums (groups, N, columns)`.
template <u32 N>
__device__ inline void fold_down(float* shared, float* sums, const Eight (&sum)[N], const Rows& own_rows, const Columns& s) {
    u32 behind = own_rows.behind, deep = own_rows.deep, column = column_of(s);
    float* own = shared + threadIdx.x;
    for (u32 at = 0; at < N * EIGHT; ++at) own[at * blockDim.x] = sum[at / EIGHT].at[at % EIGHT];
    u32 half = 1;
    while (2 * half < deep) half *= 2;
    for (; half > 0; half /= 2) {
        __syncthreads();
        if (behind >= half || behind + half >= deep) continue;
        for (u32 at = 0; at < N * EIGHT; ++at) own[at * blockDim.x] += own[at * blockDim.x + half * s.lanes];
    }
    if (behind > 0 || column >= s.columns) return;
    for (u32 n = 0; n < N; ++n) {
        Eight whole;
        for (u32 k = 0; k < EIGHT; ++k) whole.at[k] = own[(n * EIGHT + k) * blockDim.x];
        write_run(sums + (own_rows.group * N + n) * s.columns + column, whole, s.width);
    }
}

// Adds to sums, and carries to the next addition what each one rounds away (Kahan), for a mean over a hundred
// thousand places would otherwise lose it.
template <u32 N>
__device__ inline void add_terms(Eight (&sums)[N], Eight (&losses)[N], const Eight (&terms)[N]) {
    for (u32 n = 0; n < N; ++n) {
        for (u32 k = 0; k < EIGHT; ++k) {
            float& sum = sums[n].at[k];
            float& lost = losses[n].at[k];
            float term = terms[n].at[k] - lost;
            float next = sum + term;
            lost = (next - sum) - term;
            sum = next;
        }
    }
}

// Rows that a thread has on their way at a time, for the memory answers after hundreds of additions: of what
// takes many registers half as many.
template <class T>
constexpr u32 AT_ONCE = sizeof(T) <= 2 * sizeof(Packed<u16>) ? 4 : 2;

// Has `find` read what the thread needs of each of its rows, and `use` have it when all that are on their way
// have come: behind all that is read, for else each would wait for what was written before it.
template <class FIND, class USE>
__device__ inline void walk_down(const Rows& own, FIND find, USE use) {
    using Found = decltype(find(own.first));
    const u32 rows = AT_ONCE<Found>;
    for (u64 row = own.first; row < own.end; row += rows * own.deep) {
        // Without a branch between them, so that none waits for another: in place of a row that is not
        // there, the first once more.
        Found found[rows];
        for (u32 i = 0; i < rows; ++i) found[i] = find(row + i * own.deep < own.end ? row + i * own.deep : row);
        for (u32 i = 0; i < rows; ++i) {
            if (row + i * own.deep < own.end) use(row + i * own.deep, found[i]);
        }
    }
}

// `sums (groups, N, columns)` of the terms that `terms` makes of what `find` found of the thread's run in each
// row.
template <u32 N, class FIND, class TERMS>
__device__ inline void sum_down(float* shared, float* sums, u64 rows, const Columns& s, FIND find, TERMS terms) {
    Rows own = rows_of(rows, s);
    Eight sum[N] = {}, lost[N] = {};
    using Found = decltype(find(own.first));
    walk_down(own, find, [&](u64 row, const Found& found) {
        Eight of_row[N];
        terms(row, found, of_row);
        add_terms(sum, lost, of_row);
    });
    fold_down(shared, sums, sum, own, s);
}

// Runs of a gradient and of what it is read beside.
struct Beside {
    Packed<value> gradient, number;
};

template <bool WHOLE, class T>
__device__ inline void sum_rows_of(float* shared, float* sums, const T* numbers, u64 rows, const Columns& s) {
    u32 column = column_of(s);
    auto find = [=](u64 row) { return read_part<WHOLE>(numbers + row * s.columns + column, s.width); };
    sum_down<1>(shared, sums, rows, s, find, [](u64, const Packed<T>& found, Eight(&terms)[1]) {
        terms[0] = unpacked(found);
    });
}
extern "C" __global__ void sum_rows(float* sums, const float* numbers, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(numbers, s.width)) sum_rows_of<true>(shared, sums, numbers, rows, s);
    else sum_rows_of<false>(shared, sums, numbers, rows, s);
}
extern "C" __global__ void sum_value_rows(float* sums, const value* values, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(values, s.width)) sum_rows_of<true>(shared, sums, values, rows, s);
    else sum_rows_of<false>(shared, sums, values, rows, s);
}

// The largest magnitude that a block sees of `len` numbers that its threads share in runs of eight;
// halves of the block are then folded onto each other. Magnitudes compare like the integers with
// their bits, and so compared a NaN is larger than infinity: it stays.
template <class T>
__device__ inline void largest_of(float* largest, float* shared, const T* numbers, u64 len) {
    u32 best = 0;
    for (u64 at = threadIdx.x * EIGHT; at < len; at += blockDim.x * EIGHT) {
        Eight run = read_run(numbers + at, len - at < EIGHT ? (u32)(len - at) : EIGHT);
        for (u32 k = 0; k < EIGHT; ++k) {
            u32 magnitude = __float_as_uint(run.at[k]) & 0x7fffffffu;
            best = magnitude > best ? magnitude : best;
        }
    }
    shared[threadIdx.x] = __uint_as_float(best);
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        u32 other = __float_as_uint(shared[(threadIdx.x + half) % blockDim.x]);
        if (threadIdx.x < half && other > __float_as_uint(shared[threadIdx.x])) {
            shared[threadIdx.x] = __uint_as_float(other);
        }
    }
    if (threadIdx.x == 0) *largest = shared[0];
}

// A launch over many arrays has a table of them, whose entries of WORDS words end with the first of each
// array's blocks: which array is this block's. A thread looks at one entry.
template <u32 WORDS>
__device__ inline u32 array_of_block(float* shared, const u64* table, u32 arrays) {
    for (u32 a = threadIdx.x; a < arrays; a += blockDim.x) {
        u64 first = table[WORDS * a + WORDS - 1], next = a + 1 < arrays ? table[WORDS * (a + 1) + WORDS - 1] : gridDim.x;
        if (first <= blockIdx.x && blockIdx.x < next) *shared = __uint_as_float(a);
    }
    __syncthreads();
    u32 array = __float_as_uint(*shared);
    __syncthreads();
    return array;
}

// Of many arrays at once: array `a` is `table[4 a ..]`, its address, its length, whether it is of
// bf16, and the first of its blocks, each of which sees `piece` of its numbers.
extern "C" __global__ void largest_of_pieces(float* maxima, const u64* table, u32 arrays, u32 piece) {
    alignas(16) extern __shared__ float shared[];
    u32 array = array_of_block<4>(shared, table, arrays);
    u64 address = table[4 * array], len = table[4 * array + 1], begin = (blockIdx.x - table[4 * array + 3]) * piece;
    u64 count = begin >= len ? 0 : len - begin < piece ? len - begin : piece;
    if (table[4 * array + 2]) {
        largest_of(maxima + blockIdx.x, shared, (const u16*)address + begin, count);
    } else {
        largest_of(maxima + blockIdx.x, shared, (const float*)address + begin, count);
    }
}
// Then of each array's pieces, a block an array.
extern "C" __global__ void largest_of_arrays(float* found, const float* maxima, const u64* table, u32 arrays, u32 blocks) {
    alignas(16) extern __shared__ float shared[];
    u64 first = table[4 * blockIdx.x + 3];
    u64 end = blockIdx.x + 1 < arrays ? table[4 * (blockIdx.x + 1) + 3] : blocks;
    largest_of(found + blockIdx.x, shared, maxima + first, end - first);
}
