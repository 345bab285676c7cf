// Streams and events of the emulated device.
//
// The default stream, and a handle that was not made here, has done its work when a call returns.  So has a stream that
// is made here, unless late_streams() is set at that moment: then it works as late as CUDA allows, when the host waits
// for it, or another stream for an event in it, so that whoever does not wait finds what was there before.  With the
// kernels on a late stream and copies on one that is not, or the other way round, either kind of missing wait shows.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>

namespace recsys::simt {

// Set by tests.
inline bool& late_streams() {
  static bool late = false;
  return late;
}

// What is to be done on one stream, in order.
class Timeline {
 public:
  explicit Timeline(bool late) : late_(late) {}

  void submit(std::function<void()> operation) {
    waiting_.push_back(std::move(operation));
    ++n_submitted_;
    if (!late_) finish();
  }
  void finish_first(std::uint64_t n) {
    while (n_done_ < n) {
      const std::function<void()> operation = std::move(waiting_.front());
      waiting_.pop_front();
      ++n_done_;
      operation();
    }
  }
  void finish() { finish_first(n_submitted_); }
  [[nodiscard]] std::uint64_t n_submitted() const { return n_submitted_; }

 private:
  bool late_;
  std::deque<std::function<void()>> waiting_;
  std::uint64_t n_submitted_ = 0;
  std::uint64_t n_done_ = 0;
};

// A place in a timeline; without one, done.
struct Moment {
  std::shared_ptr<Timeline> timeline;
  std::uint64_t n_before = 0;

  void wait() const {
    if (timeline != nullptr) timeline->finish_first(n_before);
  }
};

inline std::map<const void*, std::shared_ptr<Timeline>>& timelines() {
  static std::map<const void*, std::shared_ptr<Timeline>> all;
  return all;
}

// Null for the default stream and for handles that were not made here.
inline std::shared_ptr<Timeline> timeline_of(const void* stream) {
  const auto found = timelines().find(stream);
  return found == timelines().end() ? nullptr : found->second;
}

template <typename Operation>
void submit(const void* stream, Operation&& operation) {
  if (const std::shared_ptr<Timeline> timeline = timeline_of(stream)) {
    timeline->submit(std::forward<Operation>(operation));
  } else {
    operation();
  }
}

inline Moment present_moment(const void* stream) {
  const std::shared_ptr<Timeline> timeline = timeline_of(stream);
  return {timeline, timeline == nullptr ? 0 : timeline->n_submitted()};
}

inline void finish_all_streams() {
  for (const auto& [handle, timeline] : timelines()) timeline->finish();
}

}  // namespace recsys::simt

struct EmulatedEvent {
  recsys::simt::Moment moment;
};
