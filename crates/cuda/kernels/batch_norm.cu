// Batch normalisation (Ioffe and Szegedy 2015) over the last axis of `x (rows, channels)`. Sums over
// rows begin here and are finished by `sum_rows`. `affine` is scale then shift, `statistics` mean
// then inverse deviation, `running` mean then unbiased variance: 2 * channels values each.

// First step of the sum of squared distances from the mean, `sums / rows`: as `sum_rows`.
template <bool WHOLE>
__device__ inline void sum_centred(float* shared, float* squares, const value* x, const float* sums, u64 rows, const Columns& s) {
    u32 column = column_of(s);
    Eight mean = read_run(sums + column, column < s.columns ? s.width : 0);
    for (u32 k = 0; k < EIGHT; ++k) mean.at[k] /= (float)rows;
    sum_down<1>(shared, squares, rows, s, [=](u64 row, Eight(&terms)[1]) {
        Eight run = read_part<WHOLE>(x + row * s.columns + column, s.width);
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

// The batch's statistics from its sums, and their share in the running ones. One thread a channel.
extern "C" __global__ void batch_norm_statistics(float* statistics, float* running, const float* sums, const float* squares, u64 rows, u32 channels, float epsilon, float share) {
    u64 c = thread_number();
    if (c >= channels) return;
    float mean = sums[c] / (float)rows, variance = squares[c] / (float)rows;
    float unbiased = squares[c] / (float)(rows > 1 ? rows - 1 : 1);
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

// `of_channel` of a run of eight that begins at channel c, and of those that begin again behind the last
// channel: at once where channels are whole runs.
__device__ inline Eight read_channels(const float* of_channel, u32 c, u32 channels) {
    if (channels % EIGHT == 0) return read_run(of_channel + c, EIGHT);
    Eight run;
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = of_channel[(c + k) % channels];
    return run;
}

extern "C" __global__ void batch_norm_apply(value* y, const value* x, const float* affine, const float* statistics, u32 channels, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len), c = (u32)(begin % channels);
    Eight run = read_run(x + begin, count);
    Eight mean = read_channels(statistics, c, channels), inverse = read_channels(statistics + channels, c, channels);
    Eight scale = read_channels(affine, c, channels), shift = read_channels(affine + channels, c, channels);
    for (u32 k = 0; k < EIGHT; ++k) {
        run.at[k] = (run.at[k] - mean.at[k]) * inverse.at[k] * scale.at[k] + shift.at[k];
    }
    write_run(y + begin, run, count);
}

// First step of the gradients of scale and shift, `sums (groups, 2, channels)`: finished by
// `sum_rows` over rows of 2 * channels, they are those of `affine`.
template <bool WHOLE>
__device__ inline void sum_gradients(float* shared, float* sums, const value* d_y, const value* x, const float* statistics, u64 rows, const Columns& s) {
    u32 column = column_of(s), width = column < s.columns ? s.width : 0;
    Eight mean = read_run(statistics + column, width), inverse = read_run(statistics + s.columns + column, width);
    sum_down<2>(shared, sums, rows, s, [=](u64 row, Eight(&terms)[2]) {
        Eight run = read_part<WHOLE>(x + row * s.columns + column, s.width);
        terms[1] = read_part<WHOLE>(d_y + row * s.columns + column, s.width);
        for (u32 k = 0; k < EIGHT; ++k) {
            terms[0].at[k] = terms[1].at[k] * ((run.at[k] - mean.at[k]) * inverse.at[k]);
        }
    });
}
extern "C" __global__ void sum_norm_gradients(float* sums, const value* d_y, const value* x, const float* statistics, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    if (are_whole(d_y, s.width) && are_whole(x, s.width)) sum_gradients<true>(shared, sums, d_y, x, statistics, rows, s);
    else sum_gradients<false>(shared, sums, d_y, x, statistics, rows, s);
}

// Mean and variance depend on every row, which takes the gradient's mean and its component along
// the normalised input away.
extern "C" __global__ void batch_norm_backward(value* d_x, const value* d_y, const value* x, const float* affine, const float* statistics, const float* d_affine, u64 rows, u32 channels, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len), c = (u32)(begin % channels);
    Eight d = read_run(d_y + begin, count), run = read_run(x + begin, count);
    Eight mean = read_channels(statistics, c, channels), inverse = read_channels(statistics + channels, c, channels);
    Eight d_scale = read_channels(d_affine, c, channels), d_shift = read_channels(d_affine + channels, c, channels);
    Eight scale = read_channels(affine, c, channels);
    float share = 1.0f / (float)rows;
    for (u32 k = 0; k < EIGHT; ++k) {
        float normal = (run.at[k] - mean.at[k]) * inverse.at[k];
        float centred = d.at[k] - d_shift.at[k] * share - normal * d_scale.at[k] * share;
        d.at[k] = scale.at[k] * inverse.at[k] * centred;
    }
    write_run(d_x + begin, d, count);
}
