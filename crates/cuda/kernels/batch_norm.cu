// Batch normalisation (Ioffe and Szegedy 2015) over the last axis of `x (rows, channels)`. Sums over
// rows begin here and are finished by `sum_rows`. `affine` is scale then shift, `statistics` mean
// then inverse deviation, `running` mean then unbiased variance: 2 * channels values each.

// First step of the sum of squared distances from the mean, `sums / rows`: as `sum_rows`.
extern "C" __global__ void sum_centred_squares(float* squares, const value* x, const float* sums, u64 rows, u32 channels, u32 group, u32 width) {
    u32 runs = channels / width, i = (u32)thread_number(), c = i % runs * width;
    u64 g = i / runs;
    if (g * group >= rows) return;
    u64 end = (g + 1) * group < rows ? (g + 1) * group : rows;
    Eight mean = read_run(sums + c, width), sum = {};
    for (u32 k = 0; k < EIGHT; ++k) mean.at[k] /= (float)rows;
    for (u64 row = g * group; row < end; ++row) {
        Eight run = read_run(x + row * channels + c, width);
        for (u32 k = 0; k < EIGHT; ++k) {
            float distance = run.at[k] - mean.at[k];
            sum.at[k] += distance * distance;
        }
    }
    write_run(squares + g * channels + c, sum, width);
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

extern "C" __global__ void batch_norm_apply(value* y, const value* x, const float* affine, const float* statistics, u32 channels, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len), c = (u32)(begin % channels);
    Eight run = read_run(x + begin, count);
    for (u32 k = 0; k < EIGHT; ++k) {
        float normal = (run.at[k] - statistics[c]) * statistics[channels + c];
        run.at[k] = normal * affine[c] + affine[channels + c];
        c = c + 1 == channels ? 0 : c + 1;
    }
    write_run(y + begin, run, count);
}

// First step of the gradients of scale and shift, `sums (groups, 2, channels)`: finished by
// `sum_rows` over rows of 2 * channels, they are those of `affine`.
extern "C" __global__ void sum_norm_gradients(float* sums, const value* d_y, const value* x, const float* statistics, u64 rows, u32 channels, u32 group, u32 width) {
    u32 runs = channels / width, i = (u32)thread_number(), c = i % runs * width;
    u64 g = i / runs;
    if (g * group >= rows) return;
    u64 end = (g + 1) * group < rows ? (g + 1) * group : rows;
    Eight mean = read_run(statistics + c, width), inverse = read_run(statistics + channels + c, width);
    Eight d_scale = {}, d_shift = {};
    for (u64 row = g * group; row < end; ++row) {
        Eight d = read_run(d_y + row * channels + c, width), run = read_run(x + row * channels + c, width);
        for (u32 k = 0; k < EIGHT; ++k) {
            d_scale.at[k] += d.at[k] * ((run.at[k] - mean.at[k]) * inverse.at[k]);
            d_shift.at[k] += d.at[k];
        }
    }
    write_run(sums + 2 * g * channels + c, d_scale, width);
    write_run(sums + (2 * g + 1) * channels + c, d_shift, width);
}

// Mean and variance depend on every row, which takes the gradient's mean and its component along
// the normalised input away.
extern "C" __global__ void batch_norm_backward(value* d_x, const value* d_y, const value* x, const float* affine, const float* statistics, const float* d_affine, u64 rows, u32 channels, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len), c = (u32)(begin % channels);
    Eight d = read_run(d_y + begin, count), run = read_run(x + begin, count);
    for (u32 k = 0; k < EIGHT; ++k) {
        float inverse = statistics[channels + c], normal = (run.at[k] - statistics[c]) * inverse;
        float centred = d.at[k] - d_affine[channels + c] / (float)rows - normal * d_affine[c] / (float)rows;
        d.at[k] = affine[c] * inverse * centred;
        c = c + 1 == channels ? 0 : c + 1;
    }
    write_run(d_x + begin, d, count);
}
