// Streams, events and graphs, as an adversary has them: everything is done as late, or as early, as it
// may be, so that where a wait is missing something else is computed.
//
// A stream has a queue. The main one's work is done when it is asked for, but for copies from and to
// memory of the host that the device reaches by itself; every other stream's when somebody waits for it:
// the host, or a stream that goes on. So a stream that takes what another was to make finds nothing
// there, and one whose arrays are overwritten or freed too soon reads what is there by then. With
// `EMULATED_LATE=main` it is the main one that is late and all others that are not: then they find nothing
// there, and overtake what the main one still has to read. With `EMULATED_TURNS=taken` streams that are
// late do one thing whenever another did one, unless they wait: then two that work in the same memory
// spoil each other's. With `EMULATED_WAITS=none` no stream waits for another: what passes all the same
// shows no wait.
#pragma once
#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace streams {

inline bool environment_has(const char* name, const char* value) {
    const char* text = std::getenv(name);
    return text && std::strcmp(text, value) == 0;
}

struct Stream;

// A place in what a stream was asked for; with no stream, none.
struct Mark {
    std::shared_ptr<Stream> stream = nullptr;
    size_t position = 0;
    bool is_reached() const;
    void reach() const;
};

// Something to do, with copies of all that it needs but for arrays, and the memory of the host that it
// reads or writes some time later; or a wait for what another stream does.
struct Work {
    std::function<void()> action = nullptr;
    const char* host = nullptr;
    Mark awaited = {};
};

struct Stream {
    bool is_late;
    std::deque<Work> queue = {};
    size_t done = 0;
    bool is_at_work = false;

    size_t asked() const { return done + queue.size(); }
    void ask(Work work) {
        bool waits = is_late || work.host;
        queue.push_back(std::move(work));
        if (!waits) finish();
    }
    void finish(size_t position) {
        while (done < position) {
            assert(!is_at_work);
            Work next = std::move(queue.front());
            queue.pop_front();
            is_at_work = true;
            next.awaited.reach();
            if (next.action) next.action();
            is_at_work = false;
            ++done;
        }
    }
    void finish() { finish(asked()); }
    // Does one thing, if it may go on.
    void take_turn() {
        bool waited = !is_at_work;
        while (waited && !queue.empty() && queue.front().awaited.is_reached()) {
            waited = !queue.front().action;
            finish(done + 1);
        }
    }
};

inline bool Mark::is_reached() const { return !stream || stream->done >= position; }
inline void Mark::reach() const {
    if (stream) stream->finish(position);
}

// A stream's wait for another.
inline Work waiting(Mark mark) {
    if (environment_has("EMULATED_WAITS", "none")) mark = {};
    return {nullptr, nullptr, mark};
}

// Streams side by side.
typedef std::vector<std::shared_ptr<Stream>> Lanes;

// Asks one of them. If it is one that does so at once, the others take a turn then.
inline void ask(Stream& stream, Work work, const Lanes& lanes) {
    stream.ask(std::move(work));
    if (stream.is_late || !environment_has("EMULATED_TURNS", "taken")) return;
    for (const auto& other : lanes) other->take_turn();
}

// All there are; everything here is one thread's at a time.
inline Lanes all;
inline std::recursive_mutex lock;
struct Hold {
    std::lock_guard<std::recursive_mutex> held{lock};
};

// What streams were asked for that were listening, by lanes: each has a lane of its own. A step
// becomes work when the graph is launched, for the streams that stand for its lanes then.
struct Step {
    size_t lane;
    std::function<Work(const Lanes&)> work;
};
struct Graph {
    std::vector<bool> is_late;
    std::vector<Step> steps;

    // One launch of it. When it is done, so are all lanes.
    Work launched() const {
        Lanes lanes;
        for (bool late : is_late) lanes.push_back(std::make_shared<Stream>(Stream{late}));
        std::vector<std::pair<Stream*, Work>> asked;
        for (const Step& step : steps) asked.push_back({lanes[step.lane].get(), step.work(lanes)});
        return {[=] {
            Lanes beside = lanes;
            beside.insert(beside.end(), all.begin(), all.end());
            for (const auto& [stream, work] : asked) ask(*stream, work, beside);
            for (const auto& lane : lanes) lane->finish();
        }};
    }
};

// How many of each lane's steps come before something.
typedef std::map<size_t, size_t> Known;

struct Capture;
struct Event {
    // Where it was recorded last outside captures.
    Mark mark = {};
    // The capture that it was recorded in since, the lane there, and what came before.
    std::shared_ptr<Capture> capture = nullptr;
    size_t lane = 0;
    Known known = {};
};

// What is being taken down: the lane of the stream that listened first, and of those that joined it
// since, by waiting for an event of the capture.
struct Capture {
    struct Lane {
        std::shared_ptr<Stream> stream;
        size_t index;
        Known known = {};
        size_t last_work = 0;
    };
    std::deque<Lane> lanes;
    Graph graph;
    // What cannot be taken down spoils it all, as the driver says of it, and is heard of at the end.
    bool is_spoilt = false;

    Lane* lane_of(const Stream* stream) {
        for (Lane& lane : lanes) {
            if (lane.stream.get() == stream) return &lane;
        }
        return nullptr;
    }
    Lane& join(std::shared_ptr<Stream> stream) {
        if (Lane* lane = lane_of(stream.get())) return *lane;
        graph.is_late.push_back(stream->is_late);
        lanes.push_back({stream, lanes.size()});
        return lanes.back();
    }
    void take_down(Lane& lane, std::function<Work(const Lanes&)> work) {
        graph.steps.push_back({lane.index, work});
        lane.last_work = ++lane.known[lane.index];
    }
    void wait_within(Lane& lane, const Event& event) {
        size_t other = event.lane, position = event.known.at(other), last_work = lane.last_work;
        take_down(lane, [=](const Lanes& all) { return waiting({all[other], position}); });
        // An edge is no work that must be joined.
        lane.last_work = last_work;
        for (auto [of, steps] : event.known) lane.known[of] = std::max(lane.known[of], steps);
    }
    // Whether the first lane ends behind the work of all.
    bool is_joined() {
        for (const Lane& lane : lanes) {
            if (lane.last_work > lanes[0].known[lane.index]) return false;
        }
        return true;
    }
};

inline std::shared_ptr<Capture> capture;
inline std::map<void*, std::shared_ptr<Event>> events;

inline std::shared_ptr<Event> event(void* handle) {
    auto place = events.find(handle);
    return place == events.end() ? nullptr : place->second;
}

inline std::shared_ptr<Stream> stream(void* handle) {
    for (const auto& stream : all) {
        if (stream.get() == handle) return stream;
    }
    return nullptr;
}

// The lane of a stream that listens.
inline Capture::Lane* listening(const std::shared_ptr<Stream>& stream) {
    return capture && stream ? capture->lane_of(stream.get()) : nullptr;
}

}  // namespace streams
