// cuBLAS as far as the program calls it: one function, in plain loops, by NVIDIA's documentation of
// cublasGemmStridedBatchedEx. Matrices are column by column; op(A) is m x k, op(B) is k x n, C is
// m x n; C is not read where beta is 0.
#include "enqueue.h"
#include "rounding.h"
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

const int R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77;
const int NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15;

// Its room is that of one stream: another one has none until it is given some.
struct Handle {
    void* stream;
    void* workspace;
};

float at(const void* values, int type, int64_t index) {
    if (type == R_32F) return ((const float*)values)[index];
    uint32_t bits = (uint32_t)((const uint16_t*)values)[index] << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// op(X) of `rows` x `columns`, contiguous, row by row.
std::vector<float> gathered(const void* x, int type, int64_t first, int turned, int rows, int columns, int ld) {
    std::vector<float> out((size_t)rows * columns);
    for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < columns; ++c) {
            int64_t index = turned ? c + (int64_t)r * ld : r + (int64_t)c * ld;
            out[(size_t)r * columns + c] = at(x, type, first + index);
        }
    }
    return out;
}

// The product, whose arguments were found good.
void multiply(int transa, int transb, int m, int n, int k, float scale, const void* a, int a_type, int lda,
              long long stride_a, const void* b, int b_type, int ldb, long long stride_b, float keep, void* c,
              int c_type, int ldc, long long stride_c, int batch, bool tf32) {
    for (int i = 0; i < batch; ++i) {
        std::vector<float> left = gathered(a, a_type, i * stride_a, transa, m, k, lda);
        std::vector<float> right = gathered(b, b_type, i * stride_b, !transb, n, k, ldb);
        if (tf32) {
            for (float& factor : left) factor = to_tf32(factor);
            for (float& factor : right) factor = to_tf32(factor);
        }
        for (int column = 0; column < n; ++column) {
            for (int row = 0; row < m; ++row) {
                // In eight strands, as vectors sum.
                float strands[8] = {};
                const float* l = &left[(size_t)row * k];
                const float* r = &right[(size_t)column * k];
                for (int d = 0; d < k; ++d) strands[d % 8] += l[d] * r[d];
                float sum = 0.0f;
                for (float strand : strands) sum += strand;
                int64_t place = i * stride_c + row + (int64_t)column * ldc;
                float result = scale * sum + (keep == 0.0f ? 0.0f : keep * at(c, c_type, place));
                if (c_type == R_32F) {
                    ((float*)c)[place] = result;
                } else {
                    ((uint16_t*)c)[place] = rounded(result);
                }
            }
        }
    }
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) {
    *handle = new Handle{};
    return 0;
}
int cublasDestroy_v2(void* handle) {
    delete (Handle*)handle;
    return 0;
}
int cublasSetStream_v2(void* handle, void* stream) {
    *(Handle*)handle = {stream, nullptr};
    return 0;
}
int cublasSetWorkspace_v2(void* handle, void* workspace, size_t) {
    ((Handle*)handle)->workspace = workspace;
    return workspace ? 0 : NOT_INITIALIZED;
}

int cublasGemmStridedBatchedEx(void* handle, int transa, int transb, int m, int n, int k,
                               const void* alpha, const void* a, int a_type, int lda, long long stride_a,
                               const void* b, int b_type, int ldb, long long stride_b, const void* beta,
                               void* c, int c_type, int ldc, long long stride_c, int batch, int compute,
                               int algo) {
    auto [stream, room] = *(Handle*)handle;
    // The library would go on with room of its own, and promise the same bits no longer where there are
    // several streams.
    if (!stream || !room) return NOT_INITIALIZED;
    if (m <= 0 || n <= 0 || k <= 0 || batch <= 0 || transa > 1 || transb > 1) return INVALID_VALUE;
    if (lda < (transa ? k : m) || ldb < (transb ? n : k) || ldc < m) return INVALID_VALUE;
    bool types = a_type == b_type && (a_type == R_32F || a_type == R_16BF) && (c_type == R_32F || c_type == a_type);
    bool tf32 = compute == COMPUTE_32F_FAST_TF32 && a_type == R_32F;
    if (!types || !(tf32 || compute == COMPUTE_32F) || algo != -1) return NOT_SUPPORTED;
    float scale = *(const float*)alpha, keep = *(const float*)beta;
    auto work = [=] {
        multiply(transa, transb, m, n, k, scale, a, a_type, lda, stride_a, b, b_type, ldb, stride_b, keep, c, c_type,
                 ldc, stride_c, batch, tf32);
    };
    return enqueued(stream, work) ? 0 : EXECUTION_FAILED;
}

}  // extern "C"
