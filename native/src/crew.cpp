#include "crew.h"

namespace {

// Whoever waits tries again so many times, giving way to another thread after every few: the one that is waited for may
// be on the same core. Then it sleeps.
constexpr int spins = 20000, few = 200;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace

void Signal::change() {
  value_.fetch_add(1, std::memory_order_seq_cst);
  // Whoever falls asleep says so first and looks at the value again: one of the two sees the other.
  if (asleep_.load(std::memory_order_seq_cst) == 0) return;
  { const std::lock_guard<std::mutex> lock(mutex_); }
  changed_.notify_all();
}

void Signal::wait_beyond(unsigned seen) {
  for (int i = 0; i < spins; i++) {
    if (now() != seen) return;
    if (i % few == few - 1)
      std::this_thread::yield();
    else
      pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  asleep_.fetch_add(1, std::memory_order_seq_cst);
  changed_.wait(lock, [&] { return value_.load(std::memory_order_seq_cst) != seen; });
  asleep_.fetch_sub(1, std::memory_order_relaxed);
}

void Barrier::meet() {
  const int count = count_;  // read before the others can know that this thread is here, and begin another task
  if (count == 1) return;
  const unsigned round = round_.now();
  if (there_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
    there_.store(0, std::memory_order_relaxed);
    round_.change();
  } else {
    round_.wait_beyond(round);
  }
}

Crew::~Crew() {
  ends_ = true;
  begun_.change();
  for (std::thread &thread : threads_) thread.join();
}

void Crew::run(int count, const std::function<void(int)> &task) {
  if (count == 1) {
    barrier_.set(1);
    return task(0);
  }
  while (static_cast<int>(threads_.size()) < count - 1) {
    const int index = static_cast<int>(threads_.size()) + 1;
    const unsigned seen = begun_.now();
    threads_.emplace_back([this, index, seen] {
      unsigned last = seen;
      for (;;) {
        begun_.wait_beyond(last);
        last++;
        if (ends_) return;
        work(index);
      }
    });
  }
  count_ = count;
  task_ = &task;
  barrier_.set(count);
  done_.set(static_cast<int>(threads_.size()) + 1);  // those that have nothing to do this time come too
  begun_.change();
  task(0);
  done_.meet();
}

void Crew::work(int index) {
  if (index < count_) (*task_)(index);
  done_.meet();
}
