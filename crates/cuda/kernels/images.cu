// Images come as bytes, a quarter of what they are as numbers, and become numbers here.

#ifndef __CUDACC__
// Elsewhere nothing joins a difference and a product.
#define __fsub_rn(a, b) ((a) - (b))
#define __fmul_rn(a, b) ((a) * (b))
#endif

// `y (N, image)` from levels of as many images, of `image` numbers each, and of each image the means
// and factors of its three colours. Each of both operations is rounded, as on every other device.
extern "C" __global__ void normalise_images(value* y, const u8* levels, const float* figures, u64 image, u64 len) {
    u64 begin = run_begin();
    u32 count = run_count(len);
    u64 n = begin / image, at = begin % image;
    Eight run;
    for (u32 k = 0; k < EIGHT; ++k) {
        if (k < count) {
            const float* own = figures + n * 6;
            u32 colour = (u32)(at % 3);
            run.at[k] = __fmul_rn(__fsub_rn((float)levels[begin + k], own[colour]), own[3 + colour]);
        }
        if (++at == image) {
            at = 0;
            ++n;
        }
    }
    write_run(y + begin, run, count);
}
