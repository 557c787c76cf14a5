// How the stand-ins for cuBLAS and cuDNN hand their work to the driver's, which knows when a stream does
// what it is asked for.
#pragma once
#include <dlfcn.h>
#include <functional>

// Whether the driver takes `work`, which must have copies of all that it needs but for arrays: for a
// stream that it does not know, or while it takes nothing down, it does not.
inline bool enqueued(void* stream, std::function<void()> work) {
    typedef int (*Enqueue)(void*, std::function<void()>*);
    static Enqueue enqueue = [] {
        void* driver = dlopen("libcuda.so", RTLD_NOW);
        return driver ? (Enqueue)dlsym(driver, "emulated_enqueue") : nullptr;
    }();
    return enqueue && enqueue(stream, &work) == 0;
}
