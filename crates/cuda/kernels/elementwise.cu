// Operations in which element i depends on element i alone: one thread for eight of them.

extern "C" __global__ void relu_forward(value* y, const value* x, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    Eight run = read_run(x + begin, count);
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = rectified(run.at[k]);
    write_run(y + begin, run, count);
}

__device__ inline Eight times(Eight run, float factor) {
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] *= factor;
    return run;
}

// What a ReLU with this output lets through of a gradient.
__device__ inline Eight let_through(Eight gradient, const Eight& output) {
    for (u32 k = 0; k < EIGHT; ++k) gradient.at[k] = output.at[k] <= 0.0f ? 0.0f : gradient.at[k];
    return gradient;
}

// In place: the gradient of the output becomes that of the input. The factor is that of a dropout, the output
// being what it made of the ReLU's.
extern "C" __global__ void relu_backward(value* d, const value* y, float factor, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    write_run(d + begin, times(let_through(read_run(d + begin, count), read_run(y + begin, count)), factor), count);
}

// The same of `d (rows, columns)`, columns being whole runs of eight, and the first round of its sums down
// columns, to the bit that of `sum_value_rows`: so the gradient of a bias need not read it again.
extern "C" __global__ void relu_backward_sums(float* sums, value* d, const value* y, float factor, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    u32 column = column_of(s);
    auto find = [=](u64 row) {
        u64 place = row * s.columns + column;
        return Beside{read_packed(d + place), read_packed(y + place)};
    };
    sum_down<1>(shared, sums, rows, s, find, [=](u64 row, const Beside& found, Eight(&terms)[1]) {
        Eight gradient = let_through(unpacked(found.gradient), unpacked(found.number));
        Packed<value> stored = packed<value>(times(gradient, factor));
        write_packed(d + row * s.columns + column, stored);
        terms[0] = unpacked(stored);
    });
}

// The curves flatten an infinity to a number; `spoilt` keeps it in sight.
extern "C" __global__ void tanh_forward(value* y, const value* x, u64 len) {
    u64 i = thread_number();
    if (i < len) put(y + i, tanhf(wide(x[i])) + spoilt(wide(x[i])));
}

extern "C" __global__ void tanh_backward(value* d, const value* y, u64 len) {
    u64 i = thread_number();
    if (i < len) put(d + i, wide(d[i]) * (1.0f - wide(y[i]) * wide(y[i])));
}

extern "C" __global__ void sigmoid_forward(value* y, const value* x, u64 len) {
    u64 i = thread_number();
    if (i < len) put(y + i, 1.0f / (1.0f + expf(-wide(x[i]))) + spoilt(wide(x[i])));
}

extern "C" __global__ void sigmoid_backward(value* d, const value* y, u64 len) {
    u64 i = thread_number();
    if (i < len) put(d + i, wide(d[i]) * wide(y[i]) * (1.0f - wide(y[i])));
}

extern "C" __global__ void scale(value* y, const value* x, float factor, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    write_run(y + begin, times(read_run(x + begin, count), factor), count);
}

extern "C" __global__ void add(float* sums, const float* terms, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    Eight sum = read_run(sums + begin, count), term = read_run(terms + begin, count);
    for (u32 k = 0; k < EIGHT; ++k) sum.at[k] += term.at[k];
    write_run(sums + begin, sum, count);
}

// A run of sums, the first of channel `c`, plus the bias of each one's channel, and ReLU if `relu` is not 0.
__device__ inline Eight activated(Eight run, const float* bias, u32 c, u32 channels, u32 relu) {
    for (u32 k = 0; k < EIGHT; ++k) {
        float sum = run.at[k] + bias[c];
        run.at[k] = relu ? rectified(sum) : sum;
        c = c + 1 == channels ? 0 : c + 1;
    }
    return run;
}

// What follows a matrix product, in place: `y (rows, channels)` plus bias, perhaps ReLU, and a factor.
// cuBLASLt could do it within the product, but a ReLU that is max(0, x) makes a 0 of a NaN.
extern "C" __global__ void bias_activation(value* y, const float* bias, float factor, u32 channels, u32 relu, u32 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    Eight run = activated(read_run(y + begin, count), bias, (u32)begin % channels, channels, relu);
    write_run(y + begin, times(run, factor), count);
}

// The same without a ReLU of rows of whole runs of eight, and the first round of their sums down columns, to
// the bit that of `sum_value_rows`: so the mean of a normalisation need not read them again.
extern "C" __global__ void bias_sums(float* sums, value* y, const float* bias, u64 rows, Columns s) {
    alignas(16) extern __shared__ float shared[];
    u32 column = column_of(s);
    Eight of_column = read_run(bias + column, column < s.columns ? EIGHT : 0);
    auto find = [=](u64 row) { return read_packed(y + row * s.columns + column); };
    sum_down<1>(shared, sums, rows, s, find, [=](u64 row, const Packed<value>& found, Eight(&terms)[1]) {
        Eight run = unpacked(found);
        for (u32 k = 0; k < EIGHT; ++k) run.at[k] += of_column.at[k];
        Packed<value> stored = packed<value>(run);
        write_packed(y + row * s.columns + column, stored);
        terms[0] = unpacked(stored);
    });
}

extern "C" __global__ void round_to_bf16(u16* rounded, const float* numbers, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    write_run(rounded + begin, read_run(numbers + begin, count), count);
}

extern "C" __global__ void widen_bf16(float* numbers, const u16* rounded, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    write_run(numbers + begin, read_run(rounded + begin, count), count);
}
