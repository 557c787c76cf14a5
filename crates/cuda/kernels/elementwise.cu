// Operations in which element i depends on element i alone: one thread an element.

extern "C" __global__ void relu_forward(float* y, const float* x, u64 len) {
    u64 i = thread_number();
    if (i < len) y[i] = rectified(x[i]);
}

// In place: the gradient of the output becomes that of the input.
extern "C" __global__ void relu_backward(float* d, const float* y, u64 len) {
    u64 i = thread_number();
    if (i < len && y[i] <= 0.0f) d[i] = 0.0f;
}

// The curves flatten an infinity to a number; `spoilt` keeps it in sight.
extern "C" __global__ void tanh_forward(float* y, const float* x, u64 len) {
    u64 i = thread_number();
    if (i < len) y[i] = tanhf(x[i]) + spoilt(x[i]);
}

extern "C" __global__ void tanh_backward(float* d, const float* y, u64 len) {
    u64 i = thread_number();
    if (i < len) d[i] = d[i] * (1.0f - y[i] * y[i]);
}

extern "C" __global__ void sigmoid_forward(float* y, const float* x, u64 len) {
    u64 i = thread_number();
    if (i < len) y[i] = 1.0f / (1.0f + expf(-x[i])) + spoilt(x[i]);
}

extern "C" __global__ void sigmoid_backward(float* d, const float* y, u64 len) {
    u64 i = thread_number();
    if (i < len) d[i] = d[i] * y[i] * (1.0f - y[i]);
}

extern "C" __global__ void scale(float* y, const float* x, float factor, u64 len) {
    u64 i = thread_number();
    if (i < len) y[i] = x[i] * factor;
}

extern "C" __global__ void add(float* sums, const float* values, u64 len) {
    u64 i = thread_number();
    if (i < len) sums[i] += values[i];
}

// What follows a matrix product, in place: `y (rows, channels)` plus the bias of its channel, and ReLU
// if `relu` is not 0. cuBLASLt could do it within the product, but a ReLU that is max(0, x) makes a 0
// of a NaN.
extern "C" __global__ void bias_activation(float* y, const float* bias, u32 channels, u32 relu, u32 len) {
    u64 i = thread_number();
    if (i >= len) return;
    float value = y[i] + bias[(u32)i % channels];
    y[i] = relu ? rectified(value) : value;
}

// The upper half of each number, rounded to nearest, ties to even: bf16 as matrix products take it.
__device__ inline u16 to_bf16(float value) {
    u32 bits = __float_as_uint(value);
    // A NaN stays one: rounding could carry its fraction away and leave an infinity.
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

extern "C" __global__ void round_to_bf16(u16* rounded, const float* values, u64 len) {
    u64 i = thread_number();
    if (i < len) rounded[i] = to_bf16(values[i]);
}
