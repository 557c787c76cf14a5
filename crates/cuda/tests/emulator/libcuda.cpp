// The driver library as far as the program calls it, for a GPU that is this processor. Compiled
// together with the kernels' source for each precision (`kernels-f32.inc`) and a table of them
// (`table-f32.inc`), which the test writes.
#include "emulated.h"
#include "memory.h"
#include "streams.h"
#include <algorithm>
#include <csetjmp>
#include <deque>
#include <map>
#include <ucontext.h>
#include <utility>
#include <vector>

thread_local Triple threadIdx, blockIdx, blockDim, gridDim;
// 48 KiB, as a real block may have without asking.
alignas(16) float shared[48 * 256];

namespace f32 {
#include "kernels-f32.inc"
}
namespace bf16 {
#include "kernels-bf16.inc"
}

namespace {

const char* running = "no kernel";

[[noreturn]] void end(const char* why) {
    std::fprintf(stderr, "emulated GPU: %s: %s\n", running, why);
    std::_Exit(99);
}

// Calls a kernel with the arguments a launch points at.
template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(A*)arguments[I]...);
}
template <class... A>
void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}

// Copies of the arguments a launch points at.
typedef std::vector<std::vector<char>> Arguments;
template <class... A, size_t... I>
Arguments copies(void (*)(A...), void** arguments, std::index_sequence<I...>) {
    return {std::vector<char>((char*)arguments[I], (char*)arguments[I] + sizeof(A))...};
}
template <class... A>
Arguments copies(void (*kernel)(A...), void** arguments) {
    return copies(kernel, arguments, std::index_sequence_for<A...>());
}

struct Kernel {
    const char* name;
    void (*run)(void** arguments);
    Arguments (*copy)(void** arguments);
};
#define KERNEL(name) {#name, [](void** a) { call(f32::name, a); }, [](void** a) { return copies(f32::name, a); }},
const std::vector<Kernel> kernels_f32 = {
#include "table-f32.inc"
};
#undef KERNEL
#define KERNEL(name) {#name, [](void** a) { call(bf16::name, a); }, [](void** a) { return copies(bf16::name, a); }},
const std::vector<Kernel> kernels_bf16 = {
#include "table-bf16.inc"
};

// Threads of the block that runs, each on its stack, and where each has stopped.
const size_t STACK = 64 << 10;
const unsigned WARP_THREADS = 32;
enum Stop { AT_BARRIER, AT_WARP_BARRIER, ENDED };
struct Copy {
    void* to;
    const void* from;
    bool is_there;
    void arrive() const {
        if (is_there) std::memcpy(to, from, 16);
        else std::memset(to, 0, 16);
    }
};
struct Thread {
    // Where it begins, and where it goes on: to jump there asks nothing of the system.
    ucontext_t context;
    jmp_buf place;
    bool has_begun = false;
    std::vector<char> stack;
    Stop stop;
    // On their way, the last group still open.
    std::vector<std::vector<Copy>> copies;
};
std::deque<Thread> threads;
jmp_buf scheduler;
size_t current;
const Kernel* kernel;
void** kernel_arguments;

void hand_over(Stop stop) {
    threads[current].stop = stop;
    if (_setjmp(threads[current].place) == 0) _longjmp(scheduler, 1);
}

// One block after the other.
void body() {
    for (;;) {
        kernel->run(kernel_arguments);
        hand_over(ENDED);
    }
}

void make_threads(unsigned count) {
    while (threads.size() < count) {
        Thread& thread = threads.emplace_back();
        thread.stack.resize(STACK);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, body, 0);
    }
}

void go_on(Thread& thread) {
    if (_setjmp(scheduler) != 0) return;
    if (thread.has_begun) _longjmp(thread.place, 1);
    thread.has_begun = true;
    setcontext(&thread.context);
}

// Runs each of these threads until it stops, and all of them on while they stop as a warp.
Stop run_threads(unsigned first, unsigned end_of) {
    for (;;) {
        for (current = first; current < end_of; ++current) {
            threadIdx = {(unsigned)current, 0, 0};
            go_on(threads[current]);
            if (threads[current].stop != threads[first].stop) end("some threads of a block wait at a barrier that others never reach");
        }
        if (threads[first].stop != AT_WARP_BARRIER) return threads[first].stop;
    }
}

void run_block(unsigned count) {
    make_threads(count);
    for (unsigned i = 0; i < count; ++i) threads[i].copies.assign(1, {});
    for (Stop all = AT_BARRIER; all != ENDED;) {
        for (unsigned first = 0; first < count; first += WARP_THREADS) {
            Stop stop = run_threads(first, std::min(count, first + WARP_THREADS));
            if (first > 0 && stop != all) end("some threads of a block wait at a barrier that others never reach");
            all = stop;
        }
    }
}

void run_grid(const Kernel* which, unsigned blocks, unsigned block_threads, unsigned shared_bytes, void** arguments) {
    kernel = which;
    kernel_arguments = arguments;
    running = kernel->name;
    gridDim = {blocks, 1, 1};
    blockDim = {block_threads, 1, 1};
    for (unsigned block = 0; block < blocks; ++block) {
        blockIdx = {block, 0, 0};
        if (shared_bytes == 0) {
            // Nothing to share: no barrier either.
            for (unsigned i = 0; i < block_threads; ++i) {
                threadIdx = {i, 0, 0};
                kernel->run(arguments);
            }
        } else {
            // Nothing in it yet, and nothing beyond what was asked for.
            std::memset(shared, 0xff, sizeof shared);
            run_block(block_threads);
            for (size_t at = shared_bytes; at < sizeof shared; ++at) {
                if (((unsigned char*)shared)[at] != 0xff) end("more shared memory was written than asked for");
            }
        }
    }
}

// Memory of the host that the device reaches without its help.
std::map<const char*, size_t> pinned;

// Where the memory begins that holds this address; none if it is not such memory.
const char* pinned_at(const void* address) {
    auto behind = pinned.upper_bound((const char*)address);
    if (behind == pinned.begin()) return nullptr;
    const auto& [begin, bytes] = *--behind;
    return (const char*)address < begin + bytes ? begin : nullptr;
}

// What a test reads when the process ends.
struct Counts {
    size_t graphs = 0, remembered = 0, refused = 0;
    ~Counts() {
        if (!std::getenv("EMULATED_COUNTS")) return;
        std::fprintf(stderr, "emulated GPU: %zu graphs made, %zu launched, %zu recordings spoilt\n", graphs, remembered,
                     refused);
    }
} counts;

// How much of graphs the driver can: `EMULATED_GRAPHS` is `none`, `not these` (no operation can be taken
// down), `not made` or `not launched`; all if it is not set.
bool graphs_are(const char* what) {
    return streams::environment_has("EMULATED_GRAPHS", what);
}

void on_fault(int) {
    end("memory beside an array was touched");
}

}  // namespace

void barrier() {
    hand_over(AT_BARRIER);
}

void warp_barrier() {
    hand_over(AT_WARP_BARRIER);
}

// What the threads of a warp show each other. All have seen it at the second barrier.
struct Shown {
    const unsigned short* row;
    Quarters a;
    unsigned b[2];
};
Shown shown[WARP_THREADS];

Quarters load_turned(const unsigned short* row) {
    unsigned lane = threadIdx.x % WARP_THREADS;
    if ((size_t)row % 16 != 0) end("a row of a matrix that does not begin at 16 bytes");
    shown[lane].row = row;
    warp_barrier();
    Quarters got;
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        const Shown* rows = shown + 8 * matrix + 2 * (lane % 4);
        got.part[matrix] = rows[0].row[lane / 4] | (unsigned)rows[1].row[lane / 4] << 16;
    }
    warp_barrier();
    return got;
}

// One of the two neighbours that a register holds.
float half(unsigned part, unsigned which) {
    return __uint_as_float(which ? part & 0xffff0000u : part << 16);
}

void multiply_add(float* sums, const Quarters& a, unsigned b0, unsigned b1) {
    unsigned lane = threadIdx.x % WARP_THREADS;
    shown[lane].a = a;
    shown[lane].b[0] = b0;
    shown[lane].b[1] = b1;
    warp_barrier();
    for (unsigned i = 0; i < 4; ++i) {
        unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (unsigned depth = 0; depth < 16; ++depth) {
            unsigned pair = depth % 8 / 2;
            const Quarters& of_row = shown[row % 8 * 4 + pair].a;
            unsigned of_column = shown[column * 4 + pair].b[depth / 8];
            sums[i] += half(of_row.part[row / 8 + depth / 8 * 2], depth % 2) * half(of_column, depth % 2);
        }
    }
    warp_barrier();
}

// Those of every other thread are as late as they may be, the others at once.
void begin_copy(unsigned short* to, const unsigned short* from, bool is_there) {
    if ((size_t)to % 16 != 0 || (size_t)from % 16 != 0) end("a copy that does not begin at 16 bytes");
    Copy copy = {to, from, is_there};
    if (current % 2 == 0) copy.arrive();
    else threads[current].copies.back().push_back(copy);
}
void end_copies() {
    threads[current].copies.push_back({});
}
void await_copies_but_last() {
    auto& groups = threads[current].copies;
    while (groups.size() > 2) {
        for (const Copy& copy : groups.front()) copy.arrive();
        groups.erase(groups.begin());
    }
}

void expect(const void* address) {
    // There must be something.
    (void)*(const volatile char*)address;
}

extern "C" {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905,
    CAPTURED_EVENT = 907,
};
typedef uint64_t Pointer;

using streams::Hold;
using streams::Lanes;
using streams::Work;

// What may not come while a stream listens.
int spoils(int why) {
    streams::capture->is_spoilt = true;
    return why;
}

// Takes a step of a stream that listens down.
int take_down(streams::Capture::Lane& lane, std::function<Work(const Lanes&)> work) {
    if (streams::capture->is_spoilt) return CAPTURE_INVALIDATED;
    if (graphs_are("not these")) return spoils(CAPTURE_UNSUPPORTED);
    streams::capture->take_down(lane, work);
    return SUCCESS;
}

// Asks a stream for work, which is done when its turn comes, or is taken down.
int ask(void* handle, Work work) {
    Hold hold;
    auto stream = streams::stream(handle);
    if (!stream) return INVALID_VALUE;
    if (auto lane = streams::listening(stream)) return take_down(*lane, [=](const Lanes&) { return work; });
    streams::ask(*stream, work, streams::all);
    return SUCCESS;
}

// The same for the libraries that stand beside this one.
int emulated_enqueue(void* stream, std::function<void()>* action) { return ask(stream, {*action}); }

int gpus() {
    const char* text = std::getenv("EMULATED_GPUS");
    return text ? std::atoi(text) : 1;
}

int cuInit(unsigned) {
    if (gpus() == 0) return NO_DEVICE;
    static stack_t stack = {std::malloc(64 << 10), 0, 64 << 10};
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_handler = on_fault;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    return SUCCESS;
}
int cuDriverGetVersion(int* version) {
    *version = 12080;
    return SUCCESS;
}
int cuDeviceGetCount(int* count) {
    *count = gpus();
    return SUCCESS;
}
int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal < gpus() ? SUCCESS : 101;
}
int cuDeviceGetName(char* name, int len, int) {
    std::snprintf(name, (size_t)len, "emulated GPU");
    return SUCCESS;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = memory::limit();
    return SUCCESS;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
    *total = memory::limit();
    *free = *total - memory::taken;
    return SUCCESS;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    const char* text = std::getenv("EMULATED_CAPABILITY");
    int capability = text ? std::atoi(text) : 90;
    switch (attribute) {
        case 75: *value = capability / 10; return SUCCESS;  // COMPUTE_CAPABILITY_MAJOR
        case 76: *value = capability % 10; return SUCCESS;  // COMPUTE_CAPABILITY_MINOR
        case 88: *value = 0; return SUCCESS;                // PAGEABLE_MEMORY_ACCESS
        case 115: *value = 1; return SUCCESS;               // MEMORY_POOLS_SUPPORTED
    }
    return INVALID_VALUE;
}
thread_local void* current_context;
char a_context;
bool has_main = false;
int cuDevicePrimaryCtxRetain(void** context, int) {
    *context = &a_context;
    has_main = false;
    return SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxGetCurrent(void** context) {
    *context = current_context;
    return SUCCESS;
}
int cuCtxSetCurrent(void* context) {
    current_context = context;
    return SUCCESS;
}
int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0, *greatest = -5;
    return SUCCESS;
}

int cuStreamCreate(void** handle, unsigned) {
    Hold hold;
    // A context's first is its main one.
    bool is_late = has_main != streams::environment_has("EMULATED_LATE", "main");
    has_main = true;
    auto stream = std::make_shared<streams::Stream>(streams::Stream{is_late});
    *handle = stream.get();
    streams::all.push_back(stream);
    return SUCCESS;
}
int cuStreamCreateWithPriority(void** handle, unsigned flags, int priority) {
    return priority > 0 || priority < -5 ? (int)INVALID_VALUE : cuStreamCreate(handle, flags);
}
int cuStreamSynchronize(void* handle) {
    Hold hold;
    auto stream = streams::stream(handle);
    if (!stream) return INVALID_VALUE;
    if (streams::listening(stream)) return spoils(CAPTURE_UNSUPPORTED);
    stream->finish();
    return SUCCESS;
}
// Whoever asks until it is so has waited.
int cuStreamQuery(void* handle) { return cuStreamSynchronize(handle); }
int cuStreamDestroy_v2(void* handle) {
    Hold hold;
    int finished = cuStreamSynchronize(handle);
    auto is_it = [=](const auto& stream) { return stream.get() == handle; };
    streams::all.erase(std::remove_if(streams::all.begin(), streams::all.end(), is_it), streams::all.end());
    return finished;
}

int cuEventCreate(void** handle, unsigned) {
    Hold hold;
    auto event = std::make_shared<streams::Event>();
    *handle = event.get();
    streams::events[*handle] = event;
    return SUCCESS;
}
int cuEventDestroy_v2(void* handle) {
    Hold hold;
    return streams::events.erase(handle) == 1 ? SUCCESS : INVALID_VALUE;
}
int cuEventRecord(void* handle, void* on) {
    Hold hold;
    auto event = streams::event(handle);
    auto stream = streams::stream(on);
    if (!event || !stream) return INVALID_VALUE;
    if (auto lane = streams::listening(stream)) {
        if (streams::capture->is_spoilt) return CAPTURE_INVALIDATED;
        // Of the lane itself at least nothing.
        lane->known[lane->index];
        *event = {event->mark, streams::capture, lane->index, lane->known};
    } else {
        *event = {{stream, stream->asked()}};
    }
    return SUCCESS;
}
int cuEventSynchronize(void* handle) {
    Hold hold;
    auto event = streams::event(handle);
    if (!event) return INVALID_VALUE;
    if (event->capture && event->capture == streams::capture) return spoils(CAPTURED_EVENT);
    if (event->capture) return CAPTURED_EVENT;
    event->mark.reach();
    return SUCCESS;
}
int cuEventQuery(void* handle) { return cuEventSynchronize(handle); }
// Every operation takes a quarter of a second.
int cuEventElapsedTime(float* ms, void* begun, void* ended) {
    *ms = 250.0f;
    int finished = cuEventSynchronize(begun);
    return finished == SUCCESS ? cuEventSynchronize(ended) : finished;
}
int cuStreamWaitEvent(void* handle, void* awaited, unsigned flags) {
    Hold hold;
    auto stream = streams::stream(handle);
    auto event = streams::event(awaited);
    if (!stream || !event || flags != 0) return INVALID_VALUE;
    if (event->capture && event->capture == streams::capture) {
        if (streams::capture->is_spoilt) return CAPTURE_INVALIDATED;
        streams::capture->wait_within(streams::capture->join(stream), *event);
        return SUCCESS;
    }
    if (streams::listening(stream)) return spoils(CAPTURE_ISOLATION);
    if (event->capture) return CAPTURED_EVENT;
    streams::ask(*stream, streams::waiting(event->mark), streams::all);
    return SUCCESS;
}

int cuStreamBeginCapture_v2(void* handle, int) {
    Hold hold;
    auto stream = streams::stream(handle);
    if (graphs_are("none") || streams::capture || !stream) return NOT_SUPPORTED;
    streams::capture = std::make_shared<streams::Capture>();
    streams::capture->join(stream);
    return SUCCESS;
}
int cuStreamEndCapture(void* handle, void** graph) {
    Hold hold;
    *graph = nullptr;
    if (!streams::capture || streams::capture->lanes[0].stream.get() != handle) return INVALID_VALUE;
    auto ended = std::move(streams::capture);
    streams::capture = nullptr;
    if (!ended->is_spoilt && ended->is_joined()) {
        *graph = new streams::Graph(ended->graph);
        return SUCCESS;
    }
    ++counts.refused;
    return ended->is_spoilt ? CAPTURE_INVALIDATED : CAPTURE_UNJOINED;
}
int cuGraphInstantiateWithFlags(void** made, void* graph, uint64_t) {
    if (graphs_are("not made")) return OUT_OF_MEMORY;
    ++counts.graphs;
    *made = new streams::Graph(*(streams::Graph*)graph);
    return SUCCESS;
}
int cuGraphLaunch(void* graph, void* handle) {
    Hold hold;
    auto stream = streams::stream(handle);
    if (graphs_are("not launched")) return OUT_OF_MEMORY;
    if (!stream || streams::listening(stream)) return INVALID_VALUE;
    ++counts.remembered;
    streams::ask(*stream, ((streams::Graph*)graph)->launched(), streams::all);
    return SUCCESS;
}
int cuGraphDestroy(void* graph) {
    delete (streams::Graph*)graph;
    return SUCCESS;
}
int cuGraphExecDestroy(void* graph) { return cuGraphDestroy(graph); }

int cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    Hold hold;
    *memory = std::malloc(bytes);
    if (bytes == 0 || !*memory) return bytes == 0 ? INVALID_VALUE : OUT_OF_MEMORY;
    pinned[(const char*)*memory] = bytes;
    return SUCCESS;
}
int cuMemFreeHost(void* memory) {
    Hold hold;
    for (const auto& stream : streams::all) {
        for (const Work& work : stream->queue) {
            if (work.host == memory) end("memory of the host was given back before it was read or written");
        }
    }
    pinned.erase((const char*)memory);
    std::free(memory);
    return SUCCESS;
}

// Nothing of a stream that listens takes or gives back memory.
int may_allocate(void* handle) {
    Hold hold;
    auto stream = streams::stream(handle);
    if (!stream) return INVALID_VALUE;
    return streams::listening(stream) ? spoils(CAPTURE_UNSUPPORTED) : (int)SUCCESS;
}
int cuMemAlloc_v2(Pointer* address, size_t bytes) {
    if (bytes == 0) return INVALID_VALUE;
    return memory::take(address, bytes) ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemAllocAsync(Pointer* address, size_t bytes, void* stream) {
    int refused = may_allocate(stream);
    return refused ? refused : cuMemAlloc_v2(address, bytes);
}
int cuMemFree_v2(Pointer address) { return memory::give_back(address) ? SUCCESS : INVALID_VALUE; }
int cuMemFreeAsync(Pointer address, void* stream) {
    if (int refused = may_allocate(stream)) return refused;
    return ask(stream, {[=] {
        running = "cuMemFreeAsync";
        if (!memory::give_back(address)) end("memory was given back that was never taken");
    }});
}

int cuMemsetD8Async(Pointer address, unsigned char value, size_t bytes, void* stream) {
    return ask(stream, {[=] {
        running = "cuMemsetD8Async";
        std::memset((void*)address, value, bytes);
    }});
}
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) {
    return ask(stream, {[=] {
        running = "cuMemcpyDtoDAsync";
        std::memcpy((void*)to, (void*)from, bytes);
    }});
}
// The host's memory would be read, and written, when a graph is launched: whoever remembers these two is
// on the way to memory that is another's by then. Of memory that the device does not reach by itself, the
// driver reads what is there now, and waits until it has written all.
void not_in_a_recording(void* handle) {
    Hold hold;
    if (streams::listening(streams::stream(handle))) end("memory of the host in a recording");
}
int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
    Hold hold;
    not_in_a_recording(stream);
    const char* host = pinned_at(from);
    std::vector<char> own;
    if (!host) own.assign((const char*)from, (const char*)from + bytes);
    return ask(stream, {[=] {
        running = "cuMemcpyHtoDAsync";
        std::memcpy((void*)to, host ? from : own.data(), bytes);
    }, host});
}
int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
    Hold hold;
    not_in_a_recording(stream);
    const char* host = pinned_at(to);
    int asked = ask(stream, {[=] {
        running = "cuMemcpyDtoHAsync";
        std::memcpy(to, (void*)from, bytes);
    }, host});
    return asked == SUCCESS && !host ? cuStreamSynchronize(stream) : asked;
}

int cuModuleLoadData(void** module, const void* image) {
    // What the compiler beside this library makes.
    if (std::strcmp((const char*)image, "emulated f32") == 0) {
        *module = (void*)&kernels_f32;
    } else if (std::strcmp((const char*)image, "emulated bf16") == 0) {
        *module = (void*)&kernels_bf16;
    } else {
        return 200;
    }
    return SUCCESS;
}
int cuModuleUnload(void*) { return SUCCESS; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
    for (const Kernel& kernel : *(const std::vector<Kernel>*)module) {
        if (std::strcmp(kernel.name, name) == 0) {
            *function = (void*)&kernel;
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared_bytes, void* stream, void** arguments, void**) {
    if (gx == 0 || gy != 1 || gz != 1 || bx == 0 || bx > 1024 || by != 1 || bz != 1) return INVALID_VALUE;
    if (shared_bytes > sizeof shared) return INVALID_VALUE;
    const Kernel* which = (const Kernel*)function;
    Arguments own = which->copy(arguments);
    return ask(stream, {[=] {
        std::vector<void*> pointers;
        for (const auto& argument : own) pointers.push_back((void*)argument.data());
        run_grid(which, gx, bx, shared_bytes, pointers.data());
    }});
}

int cuGetErrorName(int code, const char** name) {
    *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_EMULATED";
    return SUCCESS;
}
int cuGetErrorString(int code, const char** words) {
    *words = code == OUT_OF_MEMORY ? "out of memory" : "an emulated error";
    return SUCCESS;
}

}  // extern "C"
