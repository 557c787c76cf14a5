// NVRTC as far as the program calls it. Nothing is compiled: the emulated driver has the kernels
// already, and takes this compiler's word that a program is theirs.
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace {
char a_program;
bool compiled = false;
const char* image = "emulated f32";
}

extern "C" {

int nvrtcVersion(int* major, int* minor) {
    *major = 99, *minor = 0;
    return 0;
}
int nvrtcGetNumSupportedArchs(int* count) {
    *count = 3;
    return 0;
}
int nvrtcGetSupportedArchs(int* archs) {
    archs[0] = 75, archs[1] = 80, archs[2] = 90;
    return 0;
}
int nvrtcCreateProgram(void** program, const char* source, const char*, int headers, const char* const*, const char* const*) {
    *program = &a_program;
    if (!source || headers != 0) return 2;
    image = std::strstr(source, "typedef u16 value;") ? "emulated bf16" : "emulated f32";
    return 0;
}
int nvrtcCompileProgram(void*, int count, const char* const* options) {
    if (std::getenv("EMULATED_COMPILER_FAILS")) return 6;
    for (int i = 0; i < count; ++i) compiled |= std::strncmp(options[i], "--gpu-architecture=", 19) == 0;
    return compiled ? 0 : 5;
}
int nvrtcDestroyProgram(void** program) { return *program == &a_program ? 0 : 3; }
int nvrtcGetCUBINSize(void*, size_t* bytes) {
    *bytes = std::strlen(image) + 1;
    return compiled ? 0 : 4;
}
int nvrtcGetCUBIN(void*, char* into) {
    std::memcpy(into, image, std::strlen(image) + 1);
    return 0;
}
int nvrtcGetPTXSize(void*, size_t* bytes) { return nvrtcGetCUBINSize(nullptr, bytes); }
int nvrtcGetPTX(void*, char* into) { return nvrtcGetCUBIN(nullptr, into); }
int nvrtcGetProgramLogSize(void*, size_t* bytes) {
    *bytes = 14;
    return 0;
}
int nvrtcGetProgramLog(void*, char* log) {
    std::memcpy(log, "line 1: so so", 14);
    return 0;
}
const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR"; }

}  // extern "C"
