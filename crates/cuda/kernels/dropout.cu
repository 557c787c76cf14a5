// Dropout with masks that are computed, not stored: whether an element is kept is a function of
// the run's seed, the step, the layer and the element's number, the same function as on every other
// device (Philox4x32-10; Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011).

__device__ inline void philox(u32 c[4], u32 k0, u32 k1) {
    for (u32 round = 0; round < 10; ++round) {
        u64 first = (u64)0xD2511F53u * c[0];
        u64 second = (u64)0xCD9E8D57u * c[2];
        u32 c1 = c[1], c3 = c[3];
        c[0] = (u32)(second >> 32) ^ c1 ^ k0;
        c[1] = (u32)second;
        c[2] = (u32)(first >> 32) ^ c3 ^ k1;
        c[3] = (u32)first;
        // The key moves on by the fractional parts of the golden ratio and of the root of three.
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

// The step stands on the device, where it is noted first: so launches that are remembered as a graph
// have the step of the moment.
extern "C" __global__ void note_step(u64* place, u64 step) {
    if (thread_number() == 0) *place = step;
}

// Of eight elements of the layer, from element `first` on, those that are kept, times a factor, and 0 for the
// others. One block of random words decides four elements: two decide these, or parts of three.
__device__ inline Eight masked(Eight run, float kept_scale, u32 threshold, u64 seed, u64 step, u32 layer, u64 first) {
    u32 kept = 0, quads = first % 4 == 0 ? 2 : 3;
    for (u32 quad = 0; quad < quads; ++quad) {
        u32 words[4] = {(u32)(first / 4 + quad), layer, (u32)step, (u32)(step >> 32)};
        philox(words, (u32)seed, (u32)(seed >> 32));
        for (u32 k = 0; k < 4; ++k) kept |= (words[k] >= threshold ? 1u : 0u) << (4 * quad + k);
    }
    kept >>= first % 4;
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = kept >> k & 1 ? run.at[k] * kept_scale : 0.0f;
    return run;
}

// Element i here is element `first + i` of the layer.
extern "C" __global__ void dropout(value* y, const value* x, float kept_scale, u32 threshold, u64 seed, const u64* noted_step, u32 layer, u64 first, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    Eight run = read_run(x + begin, count);
    write_run(y + begin, masked(run, kept_scale, threshold, seed, *noted_step, layer, first + begin), count);
}

// What follows a matrix product, in place, as `bias_activation` does it, and dropout of that.
extern "C" __global__ void bias_dropout(value* y, const float* bias, float kept_scale, u32 threshold, u64 seed, const u64* noted_step, u32 layer, u64 first, u32 channels, u32 relu, u32 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    Eight run = activated(read_run(y + begin, count), bias, (u32)begin % channels, channels, relu);
    write_run(y + begin, masked(run, kept_scale, threshold, seed, *noted_step, layer, first + begin), count);
}
