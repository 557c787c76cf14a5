// Batch normalisation (Ioffe and Szegedy 2015) over the last axis of `x (rows, channels)`. Sums over
// rows begin here and are finished by `sum_rows`. `affine` is scale then shift, `statistics` mean
// then inverse deviation, `running` mean then unbiased variance: 2 * channels values each.

// First step of the sum of squared distances from the mean, `sums / rows`: as `sum_rows`.
extern "C" __global__ void sum_centred_squares(float* squares, const value* x, const float* sums, u64 rows, u32 channels, u32 group) {
    u64 i = thread_number(), g = i / channels;
    u32 c = (u32)(i % channels);
    if (g * group >= rows) return;
    u64 end = (g + 1) * group < rows ? (g + 1) * group : rows;
    float mean = sums[c] / (float)rows, sum = 0.0f;
    for (u64 row = g * group; row < end; ++row) {
        float distance = wide(x[row * channels + c]) - mean;
        sum += distance * distance;
    }
    squares[i] = sum;
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
    u64 i = thread_number();
    if (i >= len) return;
    u32 c = (u32)(i % channels);
    float normal = (wide(x[i]) - statistics[c]) * statistics[channels + c];
    put(y + i, normal * affine[c] + affine[channels + c]);
}

// First step of the gradients of scale and shift, `sums (groups, 2, channels)`: finished by
// `sum_rows` over rows of 2 * channels, they are those of `affine`.
extern "C" __global__ void sum_norm_gradients(float* sums, const value* d_y, const value* x, const float* statistics, u64 rows, u32 channels, u32 group) {
    u64 i = thread_number(), g = i / channels;
    u32 c = (u32)(i % channels);
    if (g * group >= rows) return;
    u64 end = (g + 1) * group < rows ? (g + 1) * group : rows;
    float mean = statistics[c], inverse = statistics[channels + c], d_scale = 0.0f, d_shift = 0.0f;
    for (u64 row = g * group; row < end; ++row) {
        float d = wide(d_y[row * channels + c]);
        d_scale += d * ((wide(x[row * channels + c]) - mean) * inverse);
        d_shift += d;
    }
    sums[2 * g * channels + c] = d_scale;
    sums[(2 * g + 1) * channels + c] = d_shift;
}

// Mean and variance depend on every row, which takes the gradient's mean and its component along
// the normalised input away.
extern "C" __global__ void batch_norm_backward(value* d_x, const value* d_y, const value* x, const float* affine, const float* statistics, const float* d_affine, u64 rows, u32 channels, u64 len) {
    u64 i = thread_number();
    if (i >= len) return;
    u32 c = (u32)(i % channels);
    float inverse = statistics[channels + c], normal = (wide(x[i]) - statistics[c]) * inverse;
    float centred = wide(d_y[i]) - d_affine[channels + c] / (float)rows - normal * d_affine[c] / (float)rows;
    put(d_x + i, affine[c] * inverse * centred);
}
