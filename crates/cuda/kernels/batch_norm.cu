// Batch normalisation (Ioffe and Szegedy 2015) over the last axis of `x (rows, channels)`. Sums over
// rows begin here and are finished by `sum_rows`. `affine` is scale then shift, `statistics` mean
// then inverse deviation, `running` mean then unbiased variance: 2 * channels values each.

// First step of the sum of squared distances from the mean, `sums / rows`: as `sum_rows`.
template <bool WHOLE>
__device__ inline void sum_centred(float* shared, float* squares, const value* x, const float* sums, u64 rows, const Columns& s) {
    u32 column = column_of(s);
    Eight mean = read_run(sums + column, column < s.columns ? s.width : 0);
    for (u32 k = 0; k < EIGHT; ++k) mean.at[k] /= (float)rows;
    auto find = [=](u64 row) { return read_part<WHOLE>(x + row * s.columns + column, s.width); };
    sum_down<1>(shared, squares, rows, s, find, [=](u64, const Packed<value>& found, Eight(&terms)[1]) {
        Eight run = unpacked(found);
        for (u32 k = 0; k < EIGHT; ++k) {
            float distance = run.at[k] - mean.at[k];
            terms[0].at[k] = distance * distance;
        }
    });
}
extern "C" __global__ void sum_centred_squares(float* squares, const value* x, const float* sums, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(x, s.width)) sum_centred<true>(shared, squares, x, sums, rows, s);
    else sum_centred<false>(shared, squares, x, sums, rows, s);
}

// The batch's statistics, in place of its sums and then squares, and their share in the running ones. One
// thread a channel.
extern "C" __global__ void batch_norm_statistics(float* statistics, float* running, u64 rows, u32 channels, float epsilon, float share) {
    u64 c = thread_number();
    if (c >= channels) return;
    float mean = statistics[c] / (float)rows, squares = statistics[channels + c];
    float variance = squares / (float)rows, unbiased = squares / (float)(rows > 1 ? rows - 1 : 1);
    statistics[c] = mean;
    statistics[channels + c] = 1.0f / sqrtf(variance + epsilon);
    running[c] = running[c] * (1.0f - share) + mean * share;
    running[channels + c] = running[channels + c] * (1.0f - share) + unbiased * share;
}

// The running statistics as `batch_norm_apply` wants them.
extern "C" __global__ void batch_norm_running(float* statistics, const float* running, u32 channels, float epsilon) {
    u64 c = thread_number();
    if (c >= channels) return;
    statistics[c] = running[c];
    statistics[channels + c] = 1.0f / sqrtf(running[channels + c] + epsilon);
}

// A run of channels scaled and shifted, `factor` being scale times inverse deviation: forward and back by the
// same operations, so that both see the same sign.
__device__ inline Eight scaled_and_shifted(Eight run, const Eight& mean, const Eight& factor, const Eight& shift) {
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = fmaf(run.at[k] - mean.at[k], factor.at[k], shift.at[k]);
    return run;
}

// What stands there behind a ReLU.
__device__ inline Packed<value> stored_rectified(Eight run) {
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = rectified(run.at[k]);
    return packed<value>(run);
}

// A thread keeps what it needs of its run of channels, in as few numbers a channel as can be, and walks down
// the rows: to read it anew for each run would be more than to read the run.
template <bool WHOLE, bool RECTIFIES>
__device__ inline void normalise(value* y, const value* x, const float* affine, const float* statistics, u64 rows, const Columns& s) {
    u32 column = column_of(s), width = column < s.columns ? s.width : 0;
    Eight mean = read_run(statistics + column, width), inverse = read_run(statistics + s.columns + column, width);
    Eight factor = read_run(affine + column, width), shift = read_run(affine + s.columns + column, width);
    for (u32 k = 0; k < EIGHT; ++k) factor.at[k] *= inverse.at[k];
    auto find = [=](u64 row) { return read_part<WHOLE>(x + row * s.columns + column, s.width); };
    walk_down(rows_of(rows, s), find, [=](u64 row, const Packed<value>& found) {
        Eight run = scaled_and_shifted(unpacked(found), mean, factor, shift);
        write_part<WHOLE>(y + row * s.columns + column, RECTIFIES ? stored_rectified(run) : packed<value>(run), s.width);
    });
}
extern "C" __global__ void batch_norm_apply(value* y, const value* x, const float* affine, const float* statistics, u64 rows, Columns s) {
    if (are_whole(y, s.width) && are_whole(x, s.width)) normalise<true, false>(y, x, affine, statistics, rows, s);
    else normalise<false, false>(y, x, affine, statistics, rows, s);
}
extern "C" __global__ void batch_norm_relu_apply(value* y, const value* x, const float* affine, const float* statistics, u64 rows, Columns s) {
    if (are_whole(y, s.width) && are_whole(x, s.width)) normalise<true, true>(y, x, affine, statistics, rows, s);
    else normalise<false, true>(y, x, affine, statistics, rows, s);
}

// First step of the gradients of scale and shift, `sums (groups, 2, channels)`: finished by
// `sum_rows` over rows of 2 * channels, they are those of `affine`. Of a ReLU's output, what it lets through is
// found from `x`, to the bit that of reading the output: an array less.
template <bool WHOLE, bool RECTIFIES>
__device__ inline void sum_gradients(float* shared, float* sums, const value* d_y, const value* x, const float* affine, const float* statistics, u64 rows, const Columns& s) {
    u32 column = column_of(s), width = column < s.columns ? s.width : 0;
    Eight mean = read_run(statistics + column, width), inverse = read_run(statistics + s.columns + column, width);
    Eight factor = read_run(affine + column, width), shift = read_run(affine + s.columns + column, width);
    for (u32 k = 0; k < EIGHT; ++k) factor.at[k] *= inverse.at[k];
    auto find = [=](u64 row) {
        u64 place = row * s.columns + column;
        return Beside{read_part<WHOLE>(d_y + place, s.width), read_part<WHOLE>(x + place, s.width)};
    };
    sum_down<2>(shared, sums, rows, s, find, [=](u64, const Beside& found, Eight(&terms)[2]) {
        Eight run = unpacked(found.number);
        terms[1] = unpacked(found.gradient);
        if (RECTIFIES) {
            Packed<value> output = stored_rectified(scaled_and_shifted(run, mean, factor, shift));
            terms[1] = let_through(terms[1], unpacked(output));
        }
        for (u32 k = 0; k < EIGHT; ++k) {
            terms[0].at[k] = terms[1].at[k] * ((run.at[k] - mean.at[k]) * inverse.at[k]);
        }
    });
}
extern "C" __global__ void sum_norm_gradients(float* sums, const value* d_y, const value* x, const float* affine, const float* statistics, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(d_y, s.width) && are_whole(x, s.width)) {
        sum_gradients<true, false>(shared, sums, d_y, x, affine, statistics, rows, s);
    } else {
        sum_gradients<false, false>(shared, sums, d_y, x, affine, statistics, rows, s);
    }
}
extern "C" __global__ void sum_rectified_norm_gradients(float* sums, const value* d_y, const value* x, const float* affine, const float* statistics, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(d_y, s.width) && are_whole(x, s.width)) {
        sum_gradients<true, true>(shared, sums, d_y, x, affine, statistics, rows, s);
    } else {
        sum_gradients<false, true>(shared, sums, d_y, x, affine, statistics, rows, s);
    }
}

// Mean and variance depend on every row, which takes the gradient's mean and its component along
// the normalised input away: of two rows that leaves little more than roundings, so it is formed in the order
// of the plain loops. The first round of what is stored down the columns is left in `sums`, to the bit that
// of `sum_value_rows`.
template <bool WHOLE, bool RECTIFIES>
__device__ inline void normalise_back(float* shared, float* sums, value* d_x, const value* d_y, const value* x, const float* affine, const float* statistics, const float* d_affine, u64 rows, const Columns& s) {
    u32 column = column_of(s), width = column < s.columns ? s.width : 0;
    Eight mean = read_run(statistics + column, width), inverse = read_run(statistics + s.columns + column, width);
    Eight factor = read_run(affine + column, width), shift = read_run(affine + s.columns + column, width);
    Eight d_scale = read_run(d_affine + column, width), d_mean = read_run(d_affine + s.columns + column, width);
    float share = 1.0f / (float)rows;
    for (u32 k = 0; k < EIGHT; ++k) {
        factor.at[k] *= inverse.at[k];
        d_mean.at[k] *= share;
    }
    auto find = [=](u64 row) {
        u64 place = row * s.columns + column;
        return Beside{read_part<WHOLE>(d_y + place, s.width), read_part<WHOLE>(x + place, s.width)};
    };
    sum_down<1>(shared, sums, rows, s, find, [=](u64 row, const Beside& found, Eight(&terms)[1]) {
        Eight d = unpacked(found.gradient), run = unpacked(found.number);
        if (RECTIFIES) d = let_through(d, unpacked(stored_rectified(scaled_and_shifted(run, mean, factor, shift))));
        for (u32 k = 0; k < EIGHT; ++k) {
            float normal = (run.at[k] - mean.at[k]) * inverse.at[k];
            d.at[k] = factor.at[k] * (d.at[k] - d_mean.at[k] - normal * d_scale.at[k] * share);
        }
        Packed<value> stored = packed<value>(d);
        write_part<WHOLE>(d_x + row * s.columns + column, stored, s.width);
        terms[0] = unpacked(stored);
    });
}
extern "C" __global__ void batch_norm_backward(float* sums, value* d_x, const value* d_y, const value* x, const float* affine, const float* statistics, const float* d_affine, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(d_x, s.width) && are_whole(d_y, s.width) && are_whole(x, s.width)) {
        normalise_back<true, false>(shared, sums, d_x, d_y, x, affine, statistics, d_affine, rows, s);
    } else {
        normalise_back<false, false>(shared, sums, d_x, d_y, x, affine, statistics, d_affine, rows, s);
    }
}
extern "C" __global__ void rectified_batch_norm_backward(float* sums, value* d_x, const value* d_y, const value* x, const float* affine, const float* statistics, const float* d_affine, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(d_x, s.width) && are_whole(d_y, s.width) && are_whole(x, s.width)) {
        normalise_back<true, true>(shared, sums, d_x, d_y, x, affine, statistics, d_affine, rows, s);
    } else {
        normalise_back<false, true>(shared, sums, d_x, d_y, x, affine, statistics, d_affine, rows, s);
    }
}
