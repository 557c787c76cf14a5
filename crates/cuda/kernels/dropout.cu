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

// Element i here is element `first + i` of the layer. One block of random words decides four
// elements, so a thread does one such quad: whole, or what of it lies in this array.
extern "C" __global__ void dropout(value* y, const value* x, float kept_scale, u32 threshold, u64 seed, const u64* noted_step, u32 layer, u64 first, u64 len) {
    u64 quad = first / 4 + thread_number(), step = *noted_step;
    u32 words[4] = {(u32)quad, layer, (u32)step, (u32)(step >> 32)};
    philox(words, (u32)seed, (u32)(seed >> 32));
    for (u32 lane = 0; lane < 4; ++lane) {
        u64 element = quad * 4 + lane;
        if (element < first || element >= first + len) continue;
        u64 i = element - first;
        put(y + i, words[lane] >= threshold ? wide(x[i]) * kept_scale : 0.0f);
    }
}
