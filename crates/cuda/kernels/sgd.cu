// The two forms of stochastic gradient descent with momentum: one pass over weights, velocity and
// gradient.

// v = m v - d r w - r g; w = w + v (paper, section 5).
extern "C" __global__ void sgd_paper(float* weights, float* velocity, const float* gradient, float rate, float momentum, float decay, u64 len) {
    u64 i = thread_number();
    if (i >= len) return;
    float v = momentum * velocity[i] - decay * rate * weights[i] - rate * gradient[i];
    velocity[i] = v;
    weights[i] += v;
}

// v = m v + g + d w; w = w - r v (PyTorch).
extern "C" __global__ void sgd_pytorch(float* weights, float* velocity, const float* gradient, float rate, float momentum, float decay, u64 len) {
    u64 i = thread_number();
    if (i >= len) return;
    float v = momentum * velocity[i] + gradient[i] + decay * weights[i];
    velocity[i] = v;
    weights[i] -= rate * v;
}
