// cuDNN as far as the program calls it: convolutions through the backend (graph) API, in plain
// loops, by NVIDIA's documentation of cudnn_graph. What that asks for is asked for here, also where
// the library itself looks away: every attribute that it calls required, in its type and of the
// right length, on descriptors that are finalized.
#include "enqueue.h"
#include "rounding.h"
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1001, BAD_PARAM = 2000, NOT_SUPPORTED = 3000, EXECUTION_FAILED = 5000 };

// Kinds of descriptors.
enum {
    CONVOLUTION = 1,
    ENGINE = 2,
    ENGINECFG = 3,
    ENGINEHEUR = 4,
    EXECUTION_PLAN = 5,
    FORWARD = 10,
    BACKWARD_FILTER = 11,
    BACKWARD_DATA = 12,
    OPERATIONGRAPH = 15,
    VARIANT_PACK = 16,
    TENSOR = 17,
};

// Types of attributes.
enum {
    HANDLE = 0,
    DATA_TYPE = 1,
    BOOLEAN = 2,
    INT64 = 3,
    FLOAT = 4,
    DOUBLE = 5,
    VOID_PTR = 6,
    CONVOLUTION_MODE = 7,
    HEUR_MODE = 8,
    NUMERICAL_NOTE = 11,
    BACKEND_DESCRIPTOR = 15,
};

// Names of attributes. The three operations have the same six, in the same order, from where each
// one's begin (`first_of`); here they go by the forward operation's names.
enum {
    CONVOLUTION_COMP_TYPE = 100,
    CONVOLUTION_CONV_MODE,
    CONVOLUTION_DILATIONS,
    CONVOLUTION_FILTER_STRIDES,
    CONVOLUTION_POST_PADDINGS,
    CONVOLUTION_PRE_PADDINGS,
    CONVOLUTION_SPATIAL_DIMS,
    ENGINEHEUR_MODE = 200,
    ENGINEHEUR_OPERATION_GRAPH,
    ENGINEHEUR_RESULTS,
    ENGINECFG_ENGINE = 300,
    PLAN_HANDLE = 400,
    PLAN_ENGINE_CONFIG,
    PLAN_WORKSPACE_SIZE,
    OPERATION_ALPHA = 700,
    OPERATION_BETA,
    OPERATION_CONV_DESC,
    OPERATION_W,
    OPERATION_X,
    OPERATION_Y,
    GRAPH_HANDLE = 800,
    GRAPH_OPS,
    TENSOR_BYTE_ALIGNMENT = 900,
    TENSOR_DATA_TYPE,
    TENSOR_DIMENSIONS,
    TENSOR_STRIDES,
    TENSOR_UNIQUE_ID = 906,
    TENSOR_IS_VIRTUAL,
    TENSOR_IS_BY_VALUE,
    PACK_UNIQUE_IDS = 1000,
    PACK_DATA_POINTERS,
    PACK_WORKSPACE = 1003,
    ENGINE_OPERATION_GRAPH = 1300,
    ENGINE_GLOBAL_INDEX,
    ENGINE_NUMERICAL_NOTE = 1303,
};

const int DATA_FLOAT = 0, DATA_BFLOAT16 = 9, CROSS_CORRELATION = 1;
const int HEUR_MODE_FALLBACK = 2, HEUR_MODES = 4;
// Of the data itself, no type of the library's: floats that are read with their fractions rounded to 10 bits.
const int AS_TF32 = 100;

// Numerical notes.
enum { TENSOR_CORE = 0, DOWN_CONVERT_INPUTS = 1, REDUCED_PRECISION_REDUCTION = 2, VARIES = 4, WINOGRAD = 5, TILE_13x13 = 8 };
const int64_t MOST_DIMS = 8;

// What can be set: so many elements at most, for a descriptor one of this kind.
const int64_t ANY = INT64_MAX;
const int AN_OPERATION = -1;
struct Attribute {
    int kind, name, type;
    int64_t most;
    int of_kind;
    bool optional;
};
const Attribute attributes[] = {
    {CONVOLUTION, CONVOLUTION_COMP_TYPE, DATA_TYPE, 1},
    {CONVOLUTION, CONVOLUTION_CONV_MODE, CONVOLUTION_MODE, 1},
    {CONVOLUTION, CONVOLUTION_DILATIONS, INT64, MOST_DIMS},
    {CONVOLUTION, CONVOLUTION_FILTER_STRIDES, INT64, MOST_DIMS},
    {CONVOLUTION, CONVOLUTION_POST_PADDINGS, INT64, MOST_DIMS},
    {CONVOLUTION, CONVOLUTION_PRE_PADDINGS, INT64, MOST_DIMS},
    {CONVOLUTION, CONVOLUTION_SPATIAL_DIMS, INT64, 1},
    {ENGINEHEUR, ENGINEHEUR_MODE, HEUR_MODE, 1},
    {ENGINEHEUR, ENGINEHEUR_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, OPERATIONGRAPH},
    {EXECUTION_PLAN, PLAN_HANDLE, HANDLE, 1},
    {EXECUTION_PLAN, PLAN_ENGINE_CONFIG, BACKEND_DESCRIPTOR, 1, ENGINECFG},
    {FORWARD, OPERATION_ALPHA, FLOAT, 1},
    {FORWARD, OPERATION_BETA, FLOAT, 1},
    {FORWARD, OPERATION_CONV_DESC, BACKEND_DESCRIPTOR, 1, CONVOLUTION},
    {FORWARD, OPERATION_W, BACKEND_DESCRIPTOR, 1, TENSOR},
    {FORWARD, OPERATION_X, BACKEND_DESCRIPTOR, 1, TENSOR},
    {FORWARD, OPERATION_Y, BACKEND_DESCRIPTOR, 1, TENSOR},
    {OPERATIONGRAPH, GRAPH_HANDLE, HANDLE, 1},
    {OPERATIONGRAPH, GRAPH_OPS, BACKEND_DESCRIPTOR, ANY, AN_OPERATION},
    {TENSOR, TENSOR_BYTE_ALIGNMENT, INT64, 1},
    {TENSOR, TENSOR_DATA_TYPE, DATA_TYPE, 1},
    {TENSOR, TENSOR_DIMENSIONS, INT64, MOST_DIMS},
    {TENSOR, TENSOR_STRIDES, INT64, MOST_DIMS},
    {TENSOR, TENSOR_UNIQUE_ID, INT64, 1},
    {TENSOR, TENSOR_IS_VIRTUAL, BOOLEAN, 1, 0, true},
    {TENSOR, TENSOR_IS_BY_VALUE, BOOLEAN, 1, 0, true},
    {VARIANT_PACK, PACK_UNIQUE_IDS, INT64, ANY},
    {VARIANT_PACK, PACK_DATA_POINTERS, VOID_PTR, ANY},
    {VARIANT_PACK, PACK_WORKSPACE, VOID_PTR, 1},
};

struct Descriptor;
typedef std::shared_ptr<const Descriptor> Reference;
struct Value {
    int type;
    int64_t count;
    std::vector<char> bytes;
    std::vector<Reference> descriptors;
};
struct Descriptor {
    int kind;
    bool finalized;
    std::map<int, Value> values;

    template <class T>
    T get(int name, int64_t index = 0) const {
        T value;
        std::memcpy(&value, values.at(name).bytes.data() + index * sizeof value, sizeof value);
        return value;
    }
    int64_t count(int name) const { return values.at(name).count; }
    bool is_set(int name) const { return values.count(name) && get<char>(name); }
    const Descriptor& of(int name) const { return *values.at(name).descriptors[0]; }
    template <class T>
    void put(int name, int type, std::vector<T> elements) {
        const char* bytes = (const char*)elements.data();
        values[name] = {type, (int64_t)elements.size(), {bytes, bytes + elements.size() * sizeof(T)}};
    }
    void put(int name, std::vector<Reference> elements) {
        values[name] = {BACKEND_DESCRIPTOR, (int64_t)elements.size(), {}, elements};
    }
};

// What callers hold are numbers that are never given out again, so that one destroyed is known. A
// descriptor set in another lives on with it, as in the library.
std::mutex lock;
uintptr_t given_out = 0;
std::map<void*, Reference> descriptors;
std::map<void*, void*> streams;  // Of the handles.

void* new_name() { return (void*)(given_out += 16); }

Reference found(void* name) {
    auto place = descriptors.find(name);
    return place == descriptors.end() ? nullptr : place->second;
}

Reference finalized(void* name, int kind) {
    Reference descriptor = found(name);
    return descriptor && descriptor->finalized && descriptor->kind == kind ? descriptor : nullptr;
}

bool is_ready(void* handle) {
    auto place = streams.find(handle);
    return place != streams.end() && place->second != nullptr;
}

bool is_operation(int kind) { return kind == FORWARD || kind == BACKWARD_DATA || kind == BACKWARD_FILTER; }

// Where a kind's attributes' names begin.
int first_of(int kind) {
    switch (kind) {
        case CONVOLUTION: return 100;
        case ENGINEHEUR: return 200;
        case ENGINECFG: return 300;
        case EXECUTION_PLAN: return 400;
        case FORWARD: return 700;
        case BACKWARD_DATA: return 706;
        case BACKWARD_FILTER: return 712;
        case OPERATIONGRAPH: return 800;
        case TENSOR: return 900;
        case VARIANT_PACK: return 1000;
        case ENGINE: return 1300;
    }
    return -1;
}

// An attribute's name among the forward operation's if it is an operation's; -1 if descriptors of
// this kind do not have it.
int own_name(int kind, int name) {
    int index = name - first_of(kind);
    if (index < 0 || index >= (is_operation(kind) ? 6 : 100)) return -1;
    return is_operation(kind) ? OPERATION_ALPHA + index : name;
}

size_t size_of(int type) {
    switch (type) {
        case HANDLE: case INT64: case DOUBLE: case VOID_PTR: case BACKEND_DESCRIPTOR: return 8;
        case BOOLEAN: return 1;
    }
    return 4;
}

struct Tensor {
    int type;
    int64_t id, size[4], step[4];
    size_t bytes() const { return type == DATA_BFLOAT16 ? 2 : 4; }
    int64_t count() const { return size[0] * size[1] * size[2] * size[3]; }
};

Tensor tensor(const Descriptor& d) {
    Tensor t = {d.get<int>(TENSOR_DATA_TYPE), d.get<int64_t>(TENSOR_UNIQUE_ID)};
    for (int i = 0; i < 4; ++i) {
        t.size[i] = d.get<int64_t>(TENSOR_DIMENSIONS, i);
        t.step[i] = d.get<int64_t>(TENSOR_STRIDES, i);
    }
    return t;
}

Status check_tensor(const Descriptor& d) {
    int64_t dims = d.count(TENSOR_DIMENSIONS), alignment = d.get<int64_t>(TENSOR_BYTE_ALIGNMENT);
    if (d.count(TENSOR_STRIDES) != dims || alignment <= 0) return BAD_PARAM;
    for (int i = 0; i < dims; ++i) {
        if (d.get<int64_t>(TENSOR_DIMENSIONS, i) <= 0 || d.get<int64_t>(TENSOR_STRIDES, i) <= 0) return BAD_PARAM;
    }
    int type = d.get<int>(TENSOR_DATA_TYPE);
    if (type != DATA_FLOAT && type != DATA_BFLOAT16) return NOT_SUPPORTED;
    if (dims != 4 || d.is_set(TENSOR_IS_VIRTUAL) || d.is_set(TENSOR_IS_BY_VALUE)) return NOT_SUPPORTED;
    Tensor t = tensor(d);
    if (alignment % (int64_t)t.bytes() != 0) return BAD_PARAM;
    // No two elements in one place: each dimension steps over all of those with smaller steps.
    int order[4] = {0, 1, 2, 3};
    std::sort(order, order + 4, [&](int a, int b) { return t.step[a] < t.step[b]; });
    int64_t extent = 1;
    for (int i : order) {
        if (t.size[i] > 1 && t.step[i] < extent) return NOT_SUPPORTED;
        extent += (t.size[i] - 1) * t.step[i];
    }
    return SUCCESS;
}

Status check_convolution(const Descriptor& d) {
    int64_t dims = d.get<int64_t>(CONVOLUTION_SPATIAL_DIMS);
    int lists[] = {CONVOLUTION_DILATIONS, CONVOLUTION_FILTER_STRIDES, CONVOLUTION_POST_PADDINGS,
                   CONVOLUTION_PRE_PADDINGS};
    bool dilated = false;
    for (int name : lists) {
        if (d.count(name) != dims) return BAD_PARAM;
        int64_t least = name == CONVOLUTION_DILATIONS || name == CONVOLUTION_FILTER_STRIDES ? 1 : 0;
        for (int i = 0; i < dims; ++i) {
            if (d.get<int64_t>(name, i) < least) return BAD_PARAM;
            dilated |= name == CONVOLUTION_DILATIONS && d.get<int64_t>(name, i) != 1;
        }
    }
    int mode = d.get<int>(CONVOLUTION_CONV_MODE), type = d.get<int>(CONVOLUTION_COMP_TYPE);
    if (dims != 2 || dilated || mode != CROSS_CORRELATION || type != DATA_FLOAT) return NOT_SUPPORTED;
    return SUCCESS;
}

// The images, filters and responses, or their gradients; those two that are read and that one that
// is written are as the kind of the operation has it.
struct Convolution {
    int kind;
    Tensor x, w, y;
    int64_t stride[2], before[2], after[2], groups;
    float alpha, beta;
    const Tensor& written() const { return kind == FORWARD ? y : kind == BACKWARD_DATA ? x : w; }
    const Tensor& read() const { return kind == FORWARD ? x : y; }
    const Tensor& also_read() const { return kind == BACKWARD_FILTER ? x : w; }
    // Engines for groups copy what they read and write.
    int64_t workspace_bytes() const {
        return 512 + (groups > 1 ? x.count() * (int64_t)x.bytes() + y.count() * (int64_t)y.bytes() : 0);
    }
};

Convolution convolution(const Descriptor& d) {
    Convolution c = {d.kind, tensor(d.of(OPERATION_X)), tensor(d.of(OPERATION_W)), tensor(d.of(OPERATION_Y))};
    for (int i = 0; i < 2; ++i) {
        c.stride[i] = d.of(OPERATION_CONV_DESC).get<int64_t>(CONVOLUTION_FILTER_STRIDES, i);
        c.before[i] = d.of(OPERATION_CONV_DESC).get<int64_t>(CONVOLUTION_PRE_PADDINGS, i);
        c.after[i] = d.of(OPERATION_CONV_DESC).get<int64_t>(CONVOLUTION_POST_PADDINGS, i);
    }
    c.groups = c.x.size[1] / c.w.size[1];
    auto scale = [&](int name) {
        return d.values.at(name).type == FLOAT ? d.get<float>(name) : (float)d.get<double>(name);
    };
    c.alpha = scale(OPERATION_ALPHA), c.beta = scale(OPERATION_BETA);
    return c;
}

Status check_operation(const Descriptor& d) {
    Convolution c = convolution(d);
    if (c.x.id == c.w.id || c.x.id == c.y.id || c.w.id == c.y.id) return BAD_PARAM;
    if (c.x.size[1] % c.w.size[1] != 0 || c.w.size[0] % c.groups != 0) return BAD_PARAM;
    if (c.y.size[0] != c.x.size[0] || c.y.size[1] != c.w.size[0]) return BAD_PARAM;
    for (int i = 0; i < 2; ++i) {
        int64_t room = c.before[i] + c.x.size[2 + i] + c.after[i] - c.w.size[2 + i];
        if (room < 0 || c.y.size[2 + i] != room / c.stride[i] + 1) return BAD_PARAM;
    }
    // Sums are in float, and results in what the factors are, or in float too.
    bool types = c.read().type == c.also_read().type;
    types &= c.written().type == c.read().type || c.written().type == DATA_FLOAT;
    return types ? SUCCESS : NOT_SUPPORTED;
}

Status check_pack(const Descriptor& d) {
    std::set<int64_t> ids;
    for (int64_t i = 0; i < d.count(PACK_UNIQUE_IDS); ++i) ids.insert(d.get<int64_t>(PACK_UNIQUE_IDS, i));
    bool match = d.count(PACK_DATA_POINTERS) == d.count(PACK_UNIQUE_IDS);
    return match && (int64_t)ids.size() == d.count(PACK_UNIQUE_IDS) ? SUCCESS : BAD_PARAM;
}

// The engines. Those that must not be taken for anything are the fastest: they compute nothing.
enum { PLAIN = 0, ROUNDING = 1, SPOILING = 2, REFUSING = 3 };
struct Engine {
    int does;
    std::vector<int> notes;
};

// Which ones there are for floats or bf16, in the library's order: of floats, those without tensor cores
// last. `EMULATED_CUDNN_ENGINES` is `none`, `rounding` (of floats only those that round factors to TF32),
// `rounding unsaid` (these, and they do not say so) or `refusing` (only such that refuse when they are to
// compute); all if it is not set.
std::vector<Engine> engines(int type, int mode) {
    const char* text = std::getenv("EMULATED_CUDNN_ENGINES");
    std::string which = text ? text : "all";
    bool fallback = mode == HEUR_MODE_FALLBACK;
    if (which == "none") return {};
    if (type == DATA_FLOAT && which == "rounding") return {{ROUNDING, {TENSOR_CORE}}};
    if (type == DATA_FLOAT && which == "rounding unsaid") return {{ROUNDING, {}}};
    if (which == "refusing") return {{REFUSING, {}}, {REFUSING + 1, {}}};
    if (fallback) return {{PLAIN, {}}};
    Engine varying = {SPOILING, {REDUCED_PRECISION_REDUCTION, VARIES}};
    if (type == DATA_BFLOAT16) return {{PLAIN, {TENSOR_CORE}}, varying};
    Engine half = {SPOILING, {TENSOR_CORE, DOWN_CONVERT_INPUTS}}, tiles = {SPOILING, {WINOGRAD, TILE_13x13}};
    return {{ROUNDING, {TENSOR_CORE}}, half, varying, tiles, {PLAIN, {}}};
}

// How many convolutions engines have computed, for a test to read when the process ends.
struct Counts {
    size_t plain = 0, rounding = 0;
    ~Counts() {
        if (!std::getenv("EMULATED_COUNTS")) return;
        std::fprintf(stderr, "emulated cuDNN: %zu plain convolutions, %zu with rounded factors\n", plain, rounding);
    }
} counts;

void add_results(Descriptor& heuristics) {
    const Descriptor& operation = heuristics.of(ENGINEHEUR_OPERATION_GRAPH).of(GRAPH_OPS);
    std::vector<Reference> configs;
    for (const Engine& found : engines(convolution(operation).read().type, heuristics.get<int>(ENGINEHEUR_MODE))) {
        Descriptor engine = {ENGINE, true}, config = {ENGINECFG, true};
        engine.values[ENGINE_OPERATION_GRAPH] = heuristics.values[ENGINEHEUR_OPERATION_GRAPH];
        engine.put(ENGINE_GLOBAL_INDEX, INT64, std::vector<int64_t>{found.does});
        engine.put(ENGINE_NUMERICAL_NOTE, NUMERICAL_NOTE, found.notes);
        config.put(ENGINECFG_ENGINE, {std::make_shared<Descriptor>(engine)});
        configs.push_back(std::make_shared<Descriptor>(config));
    }
    heuristics.put(ENGINEHEUR_RESULTS, configs);
}

// What a plan is for.
Convolution planned(const Descriptor& plan) {
    return convolution(plan.of(PLAN_ENGINE_CONFIG).of(ENGINECFG_ENGINE).of(ENGINE_OPERATION_GRAPH).of(GRAPH_OPS));
}

// Checks a descriptor that has all it requires, and adds what can be asked of it from now on.
Status complete(Descriptor& d) {
    switch (d.kind) {
        case TENSOR: return check_tensor(d);
        case CONVOLUTION: return check_convolution(d);
        case FORWARD: case BACKWARD_DATA: case BACKWARD_FILTER: return check_operation(d);
        case OPERATIONGRAPH: return d.count(GRAPH_OPS) == 1 ? SUCCESS : NOT_SUPPORTED;
        case ENGINEHEUR: {
            int mode = d.get<int>(ENGINEHEUR_MODE);
            if (mode < 0 || mode >= HEUR_MODES) return BAD_PARAM;
            add_results(d);
            return SUCCESS;
        }
        case EXECUTION_PLAN:
            d.put(PLAN_WORKSPACE_SIZE, INT64, std::vector<int64_t>{planned(d).workspace_bytes()});
            return SUCCESS;
        case VARIANT_PACK: return check_pack(d);
    }
    return BAD_PARAM;  // Engines and their configurations come from the heuristics, finalized.
}

float at(const void* values, int type, int64_t index) {
    if (type == DATA_FLOAT) return ((const float*)values)[index];
    if (type == AS_TF32) return to_tf32(((const float*)values)[index]);
    uint32_t bits = (uint32_t)((const uint16_t*)values)[index] << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// Channels side by side in a vector.
const int64_t LANES = 16;
int64_t padded(int64_t channels) { return (channels + LANES - 1) / LANES * LANES; }

// All elements, each at its place in an array of this length with zeros between them.
template <class Place>
std::vector<float> gathered(const void* values, const Tensor& t, int64_t length, Place place) {
    std::vector<float> out((size_t)length);
    for (int64_t a = 0; a < t.size[0]; ++a) {
        for (int64_t b = 0; b < t.size[1]; ++b) {
            for (int64_t c = 0; c < t.size[2]; ++c) {
                for (int64_t d = 0; d < t.size[3]; ++d) {
                    int64_t index = a * t.step[0] + b * t.step[1] + c * t.step[2] + d * t.step[3];
                    out[(size_t)place(a, b, c, d)] = at(values, t.type, index);
                }
            }
        }
    }
    return out;
}

// Each scalar times its row of lanes, summed, and the sums added to those so far.
void add(float* sums, const float* scalars, int64_t scalar_step, const float* rows, int64_t row_step,
         int64_t count) {
    float here[LANES] = {};
    for (int64_t i = 0; i < count; ++i) {
        float scalar = scalars[i * scalar_step];
        const float* row = rows + i * row_step;
        for (int64_t lane = 0; lane < LANES; ++lane) here[lane] += scalar * row[lane];
    }
    for (int64_t lane = 0; lane < LANES; ++lane) sums[lane] += here[lane];
}

struct Output {
    void* values;
    Tensor t;
    float alpha, beta;

    // Lanes' sums to channels (by `axis`) from the one at `index` on, as many as there are.
    void put(const float* sums, int axis, int64_t channels, int64_t a, int64_t b, int64_t c, int64_t d) {
        int64_t index = a * t.step[0] + b * t.step[1] + c * t.step[2] + d * t.step[3];
        for (int64_t lane = 0; lane < std::min(LANES, channels); ++lane, index += t.step[axis]) {
            float value = alpha * sums[lane];
            if (beta != 0.0f) value += beta * at(values, t.type, index);
            if (t.type == DATA_FLOAT) {
                ((float*)values)[index] = value;
            } else {
                ((uint16_t*)values)[index] = rounded(value);
            }
        }
    }
};

void compute(const Convolution& conv, const void* x_values, const void* w_values, const void* y_values,
             Output out) {
    int64_t N = conv.x.size[0], C = conv.x.size[1], H = conv.x.size[2], W = conv.x.size[3];
    int64_t K = conv.w.size[0], R = conv.w.size[2], S = conv.w.size[3], P = conv.y.size[2], Q = conv.y.size[3];
    int64_t G = conv.groups, c_each = C / G, k_each = K / G;
    int64_t up = conv.stride[0], along = conv.stride[1], above = conv.before[0], left = conv.before[1];
    if (conv.kind == FORWARD) {
        int64_t row = padded(k_each);
        std::vector<float> x = gathered(x_values, conv.x, N * H * W * C,
                                       [&](int64_t n, int64_t c, int64_t h, int64_t w) {
            return ((n * H + h) * W + w) * C + c;
        });
        std::vector<float> f = gathered(w_values, conv.w, G * R * S * c_each * row,
                                       [&](int64_t k, int64_t c, int64_t r, int64_t s) {
            return (((k / k_each * R + r) * S + s) * c_each + c) * row + k % k_each;
        });
        for (int64_t place = 0; place < N * P * Q * G; ++place) {
            int64_t g = place % G, q = place / G % Q, p = place / G / Q % P, n = place / G / Q / P;
            for (int64_t k = 0; k < k_each; k += LANES) {
                float sums[LANES] = {};
                for (int64_t r = 0; r < R; ++r) {
                    int64_t h = p * up - above + r;
                    if (h < 0 || h >= H) continue;
                    for (int64_t s = 0; s < S; ++s) {
                        int64_t w = q * along - left + s;
                        if (w < 0 || w >= W) continue;
                        const float* image = &x[(size_t)(((n * H + h) * W + w) * C + g * c_each)];
                        add(sums, image, 1, &f[(size_t)(((g * R + r) * S + s) * c_each * row + k)], row, c_each);
                    }
                }
                out.put(sums, 1, k_each - k, n, g * k_each + k, p, q);
            }
        }
    } else if (conv.kind == BACKWARD_DATA) {
        int64_t row = padded(c_each);
        std::vector<float> y = gathered(y_values, conv.y, N * P * Q * K,
                                       [&](int64_t n, int64_t k, int64_t p, int64_t q) {
            return ((n * P + p) * Q + q) * K + k;
        });
        std::vector<float> f = gathered(w_values, conv.w, G * R * S * k_each * row,
                                       [&](int64_t k, int64_t c, int64_t r, int64_t s) {
            return (((k / k_each * R + r) * S + s) * k_each + k % k_each) * row + c;
        });
        for (int64_t place = 0; place < N * H * W * G; ++place) {
            int64_t g = place % G, w = place / G % W, h = place / G / W % H, n = place / G / W / H;
            for (int64_t c = 0; c < c_each; c += LANES) {
                float sums[LANES] = {};
                for (int64_t r = 0; r < R; ++r) {
                    int64_t p = (h + above - r) / up;
                    if (h + above < r || (h + above - r) % up != 0 || p >= P) continue;
                    for (int64_t s = 0; s < S; ++s) {
                        int64_t q = (w + left - s) / along;
                        if (w + left < s || (w + left - s) % along != 0 || q >= Q) continue;
                        const float* response = &y[(size_t)(((n * P + p) * Q + q) * K + g * k_each)];
                        add(sums, response, 1, &f[(size_t)(((g * R + r) * S + s) * k_each * row + c)], row, k_each);
                    }
                }
                out.put(sums, 1, c_each - c, n, g * c_each + c, h, w);
            }
        }
    } else {
        int64_t row = padded(k_each);
        std::vector<float> x = gathered(x_values, conv.x, N * H * W * C,
                                       [&](int64_t n, int64_t c, int64_t h, int64_t w) {
            return ((n * H + h) * W + w) * C + c;
        });
        std::vector<float> y = gathered(y_values, conv.y, N * P * Q * G * row,
                                       [&](int64_t n, int64_t k, int64_t p, int64_t q) {
            return (((n * P + p) * Q + q) * G + k / k_each) * row + k % k_each;
        });
        for (int64_t place = 0; place < C * R * S; ++place) {
            int64_t s = place % S, r = place / S % R, c = place / S / R % c_each, g = place / S / R / c_each;
            // The responses that this place of the filter has an image's column for.
            int64_t first = s < left ? (left - s + along - 1) / along : 0;
            int64_t last = W - 1 + left < s ? -1 : std::min(Q - 1, (W - 1 + left - s) / along);
            for (int64_t k = 0; k < k_each; k += LANES) {
                float sums[LANES] = {};
                for (int64_t n = 0; n < N; ++n) {
                    for (int64_t p = 0; p < P; ++p) {
                        int64_t h = p * up - above + r;
                        if (h < 0 || h >= H || first > last) continue;
                        int64_t w = first * along - left + s;
                        const float* image = &x[(size_t)(((n * H + h) * W + w) * C + g * c_each + c)];
                        const float* response = &y[(size_t)((((n * P + p) * Q + first) * G + g) * row + k)];
                        add(sums, image, along * C, response, G * row, last - first + 1);
                    }
                }
                out.put(sums, 0, k_each - k, g * k_each + k, c, r, s);
            }
        }
    }
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return 91900; }

const char* cudnnGetErrorString(int status) {
    switch (status) {
        case SUCCESS: return "CUDNN_STATUS_SUCCESS";
        case NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
        case BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
        case NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    }
    return "CUDNN_UNKNOWN_STATUS";
}

int cudnnCreate(void** handle) {
    std::lock_guard<std::mutex> hold(lock);
    if (!handle) return BAD_PARAM;
    *handle = new_name();
    streams[*handle] = nullptr;
    return SUCCESS;
}
int cudnnDestroy(void* handle) {
    std::lock_guard<std::mutex> hold(lock);
    return streams.erase(handle) == 1 ? SUCCESS : BAD_PARAM;
}
int cudnnSetStream(void* handle, void* stream) {
    std::lock_guard<std::mutex> hold(lock);
    if (streams.count(handle) == 0) return BAD_PARAM;
    streams[handle] = stream;
    return SUCCESS;
}

int cudnnBackendCreateDescriptor(int kind, void** descriptor) {
    std::lock_guard<std::mutex> hold(lock);
    if (!descriptor) return BAD_PARAM;
    if (first_of(kind) < 0) return NOT_SUPPORTED;
    *descriptor = new_name();
    descriptors[*descriptor] = std::make_shared<Descriptor>(Descriptor{kind, false});
    return SUCCESS;
}
int cudnnBackendDestroyDescriptor(void* descriptor) {
    std::lock_guard<std::mutex> hold(lock);
    return descriptors.erase(descriptor) == 1 ? SUCCESS : BAD_PARAM;
}

int cudnnBackendSetAttribute(void* descriptor, int name, int type, int64_t count, const void* elements) {
    std::lock_guard<std::mutex> hold(lock);
    Reference before = found(descriptor);
    if (!before || before->finalized || !elements) return BAD_PARAM;
    name = own_name(before->kind, name);
    if (name < 0) return BAD_PARAM;
    const Attribute* attribute = nullptr;
    for (const Attribute& other : attributes) {
        if (other.name == name) attribute = &other;
    }
    if (!attribute) return NOT_SUPPORTED;
    bool fits = type == attribute->type || (type == DOUBLE && attribute->type == FLOAT);
    if (!fits || count < 1 || count > attribute->most) return BAD_PARAM;
    const char* bytes = (const char*)elements;
    Value value = {type, count, {bytes, bytes + count * size_of(type)}};
    for (int64_t i = 0; i < count && (type == BACKEND_DESCRIPTOR || type == HANDLE); ++i) {
        void* element = ((void* const*)elements)[i];
        if (type == HANDLE) {
            if (!is_ready(element)) return BAD_PARAM;
            continue;
        }
        Reference other = found(element);
        if (!other || !other->finalized) return BAD_PARAM;
        int kind = is_operation(other->kind) ? AN_OPERATION : other->kind;
        if (kind != attribute->of_kind) return BAD_PARAM;
        value.descriptors.push_back(other);
    }
    Descriptor after = *before;
    after.values[name] = value;
    descriptors[descriptor] = std::make_shared<Descriptor>(after);
    return SUCCESS;
}

int cudnnBackendFinalize(void* descriptor) {
    std::lock_guard<std::mutex> hold(lock);
    Reference before = found(descriptor);
    if (!before || before->finalized) return BAD_PARAM;
    int kind = is_operation(before->kind) ? (int)FORWARD : before->kind;
    for (const Attribute& attribute : attributes) {
        bool missing = attribute.kind == kind && !attribute.optional && before->values.count(attribute.name) == 0;
        if (missing) return BAD_PARAM;
    }
    Descriptor after = *before;
    Status status = complete(after);
    after.finalized = status == SUCCESS;
    if (after.finalized) descriptors[descriptor] = std::make_shared<Descriptor>(after);
    return status;
}

// Where there is no array, `count` becomes how many elements there are; otherwise how many of them
// it took. Descriptors are filled: they are there already, of the right kind.
int cudnnBackendGetAttribute(void* descriptor, int name, int type, int64_t requested, int64_t* count,
                             void* elements) {
    std::lock_guard<std::mutex> hold(lock);
    Reference from = found(descriptor);
    if (!from || requested < 0) return BAD_PARAM;
    if (!from->finalized) return NOT_INITIALIZED;
    name = own_name(from->kind, name);
    if (name < 0) return BAD_PARAM;
    auto place = from->values.find(name);
    if (place == from->values.end()) return NOT_SUPPORTED;
    const Value& value = place->second;
    if (type != value.type) return BAD_PARAM;
    int64_t taken = elements ? std::min(requested, value.count) : value.count;
    if (elements && type == BACKEND_DESCRIPTOR) {
        void** names = (void**)elements;
        for (int64_t i = 0; i < taken; ++i) {
            Reference to = found(names[i]);
            if (!to || to->kind != value.descriptors[(size_t)i]->kind) return BAD_PARAM;
        }
        for (int64_t i = 0; i < taken; ++i) descriptors[names[i]] = value.descriptors[(size_t)i];
    } else if (elements) {
        std::copy_n(value.bytes.begin(), (size_t)taken * size_of(type), (char*)elements);
    }
    if (count) *count = taken;
    return SUCCESS;
}

int cudnnBackendExecute(void* handle, void* plan_name, void* pack_name) {
    Reference plan, pack;
    void* stream;
    {
        std::lock_guard<std::mutex> hold(lock);
        plan = finalized(plan_name, EXECUTION_PLAN), pack = finalized(pack_name, VARIANT_PACK);
        if (!is_ready(handle) || !plan || !pack) return BAD_PARAM;
        stream = streams[handle];
    }
    Convolution conv = planned(*plan);
    const Tensor* tensors[3] = {&conv.x, &conv.w, &conv.y};
    void* values[3] = {};
    for (int i = 0; i < 3; ++i) {
        for (int64_t j = 0; j < pack->count(PACK_UNIQUE_IDS); ++j) {
            bool same = pack->get<int64_t>(PACK_UNIQUE_IDS, j) == tensors[i]->id;
            if (same) values[i] = pack->get<void*>(PACK_DATA_POINTERS, j);
        }
        // Aligned as its elements must be: the emulated memory promises no more.
        if (!values[i] || (uintptr_t)values[i] % tensors[i]->bytes() != 0) return BAD_PARAM;
    }
    void* workspace = pack->get<void*>(PACK_WORKSPACE);
    if (!workspace) return BAD_PARAM;
    void* written = conv.kind == FORWARD ? values[2] : conv.kind == BACKWARD_DATA ? values[0] : values[1];
    void *x = values[0], *w = values[1], *y = values[2];
    int64_t does = plan->of(PLAN_ENGINE_CONFIG).of(ENGINECFG_ENGINE).get<int64_t>(ENGINE_GLOBAL_INDEX);
    if (does >= REFUSING) return EXECUTION_FAILED;
    auto work = [=] {
        // All of it is the library's to write.
        std::memset(workspace, 0xff, (size_t)conv.workspace_bytes());
        Output out = {written, conv.written(), conv.alpha, conv.beta};
        if (does == SPOILING) {
            std::memset(written, 0xff, (size_t)out.t.count() * out.t.bytes());
            return;
        }
        ++(does == ROUNDING ? counts.rounding : counts.plain);
        Convolution read = conv;
        if (does == ROUNDING) read.x.type = read.w.type = read.y.type = AS_TF32;
        compute(read, x, w, y, out);
    };
    return enqueued(stream, work) ? SUCCESS : EXECUTION_FAILED;
}

}  // extern "C"
