// "Device" memory: each array ends where a page begins that must not be touched, or begins where one
// ends if EMULATED_GUARD is `before`. A kernel that reads or writes beside an array ends the process
// with a word about it. No address is given out again, so that one that is used too late is seen too.
#pragma once
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace memory {

struct Array {
    char* pages;
    size_t bytes;
};

inline std::map<uint64_t, Array> arrays;
inline std::mutex lock;
inline size_t taken = 0;

inline size_t limit() {
    const char* text = std::getenv("EMULATED_BYTES");
    return text ? std::strtoull(text, nullptr, 10) : (size_t)8 << 30;
}

// Filled with what no kernel may rely on: a pattern that is NaN in f32, f64 and bf16.
inline bool take(uint64_t* address, size_t bytes) {
    std::lock_guard<std::mutex> hold(lock);
    if (bytes == 0 || taken + bytes > limit()) return false;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inside = (bytes + page - 1) / page * page;
    static char* unused = (char*)0x100000000000;
    void* pages = mmap(unused, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return false;
    unused = std::max(unused, (char*)pages + inside + 2 * page);
    char* first = (char*)pages + page;
    mprotect(first, inside, PROT_READ | PROT_WRITE);
    std::memset(first, 0xff, inside);
    const char* guard = std::getenv("EMULATED_GUARD");
    bool before = guard && std::strcmp(guard, "before") == 0;
    *address = (uint64_t)(before ? first : first + inside - bytes);
    arrays[*address] = Array{(char*)pages, inside + 2 * page};
    taken += inside;
    return true;
}

inline bool give_back(uint64_t address) {
    std::lock_guard<std::mutex> hold(lock);
    auto found = arrays.find(address);
    if (found == arrays.end()) return false;
    taken -= found->second.bytes - 2 * (size_t)sysconf(_SC_PAGESIZE);
    munmap(found->second.pages, found->second.bytes);
    arrays.erase(found);
    return true;
}

}  // namespace memory
