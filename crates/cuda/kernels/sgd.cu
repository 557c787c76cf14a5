// The two forms of stochastic gradient descent with momentum: one pass over weights, velocity and
// gradient, which also leaves the new weights in bf16 for the next step's products, if they are kept
// so.

// v = m v - d r w - r g; w = w + v (paper, section 5).
__device__ inline void paper_step(Eight& weights, Eight& velocity, const Eight& gradient, float rate, float momentum, float decay) {
    for (u32 k = 0; k < EIGHT; ++k) {
        float v = momentum * velocity.at[k] - decay * rate * weights.at[k] - rate * gradient.at[k];
        velocity.at[k] = v;
        weights.at[k] += v;
    }
}

// v = m v + g + d w; w = w - r v (PyTorch).
__device__ inline void pytorch_step(Eight& weights, Eight& velocity, const Eight& gradient, float rate, float momentum, float decay) {
    for (u32 k = 0; k < EIGHT; ++k) {
        float v = momentum * velocity.at[k] + gradient.at[k] + decay * weights.at[k];
        velocity.at[k] = v;
        weights.at[k] -= rate * v;
    }
}

// A thread's eight; `rounded` is null where no bf16 is kept.
template <void STEP(Eight&, Eight&, const Eight&, float, float, float)>
__device__ inline void sgd(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    Eight w = read_run(weights + begin, count), v = read_run(velocity + begin, count);
    STEP(w, v, read_run(gradient + begin, count), rate, momentum, decay);
    write_run(weights + begin, w, count);
    write_run(velocity + begin, v, count);
    if (rounded) write_run(rounded + begin, w, count);
}

extern "C" __global__ void sgd_paper(float* weights, float* velocity, const float* gradient, float rate, float momentum, float decay, u64 len) {
    sgd<paper_step>(weights, velocity, nullptr, gradient, rate, momentum, decay, len);
}
extern "C" __global__ void sgd_paper_rounded(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, u64 len) {
    sgd<paper_step>(weights, velocity, rounded, gradient, rate, momentum, decay, len);
}
extern "C" __global__ void sgd_pytorch(float* weights, float* velocity, const float* gradient, float rate, float momentum, float decay, u64 len) {
    sgd<pytorch_step>(weights, velocity, nullptr, gradient, rate, momentum, decay, len);
}
extern "C" __global__ void sgd_pytorch_rounded(float* weights, float* velocity, u16* rounded, const float* gradient, float rate, float momentum, float decay, u64 len) {
    sgd<pytorch_step>(weights, velocity, rounded, gradient, rate, momentum, decay, len);
}
