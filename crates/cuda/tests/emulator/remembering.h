// How the stand-ins for cuBLAS and cuDNN hand their work to the driver's while its stream listens: a
// library by itself cannot know.
#pragma once
#include <dlfcn.h>
#include <functional>

// Whether the driver has taken `work` to do it when a graph is launched; with `refused`, that the
// library cannot go on, for the driver wants nothing like it.
inline bool remembered(std::function<void()> work, bool* refused) {
    typedef int (*Remember)(std::function<void()>*);
    static Remember remember = [] {
        void* driver = dlopen("libcuda.so", RTLD_NOW);
        return driver ? (Remember)dlsym(driver, "emulated_remember") : nullptr;
    }();
    int answer = remember ? remember(&work) : 0;
    *refused = answer == 2;
    return answer == 1;
}
