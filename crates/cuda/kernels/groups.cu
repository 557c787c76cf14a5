// Channels in groups, each group's apart: cuDNN's engines for one group are its fastest if that stands by
// itself. Where groups stand beside each other, `(rows, channels)`, a place is a row; apart it is one of each
// group's rows, `(groups, rows, each)`. A thread moves a run of eight channels in several rows: all reads are
// on their way before the first is waited for, and its place is found by one division. Rows of a thread are so
// far apart that its neighbours' runs stand beside its own.

// Channels are of all groups and of each, a multiple of eight.
struct Groups {
    u32 rows, channels, each;
};

// Rows of a thread.
const u32 GROUP_ROWS = 4;

template <bool WHOLE>
__device__ inline Packed<value> take_eight(const value* x) {
    return WHOLE ? read_packed(x) : packed<value>(read_run(x, EIGHT));
}
template <bool WHOLE>
__device__ inline void leave_eight(value* y, const Packed<value>& run) {
    if (WHOLE) {
        write_packed(y, run);
    } else {
        for (u32 k = 0; k < EIGHT; ++k) put(y + k, number_of(run, k));
    }
}

// One into the other, `to` with the groups apart if `PARTS`, else `from`.
template <bool PARTS, bool WHOLE>
__device__ inline void move_groups(value* to, const value* from, Groups s) {
    u32 i = (u32)thread_number(), runs = s.channels / EIGHT, step = (s.rows + GROUP_ROWS - 1) / GROUP_ROWS;
    u32 first = i / runs, channel = i % runs * EIGHT, group = channel / s.each;
    u32 beside = first * s.channels + channel;
    u32 apart = (group * s.rows + first) * s.each + channel - group * s.each;
    if (first >= step) return;
    Packed<value> held[GROUP_ROWS];
    for (u32 k = 0; k < GROUP_ROWS; ++k) {
        u32 at = PARTS ? beside + k * step * s.channels : apart + k * step * s.each;
        if (first + k * step < s.rows) held[k] = take_eight<WHOLE>(from + at);
    }
    for (u32 k = 0; k < GROUP_ROWS; ++k) {
        u32 at = PARTS ? apart + k * step * s.each : beside + k * step * s.channels;
        if (first + k * step < s.rows) leave_eight<WHOLE>(to + at, held[k]);
    }
}

extern "C" __global__ void part_groups(value* parts, const value* x, Groups s) {
    if (are_whole(parts, EIGHT) && are_whole(x, EIGHT)) move_groups<true, true>(parts, x, s);
    else move_groups<true, false>(parts, x, s);
}

extern "C" __global__ void join_groups(value* y, const value* parts, Groups s) {
    if (are_whole(parts, EIGHT) && are_whole(y, EIGHT)) move_groups<false, true>(y, parts, s);
    else move_groups<false, false>(y, parts, s);
}
