// Threads that run one task together and meet at barriers. Who waits spins for a while, then sleeps: on a machine with
// nothing else to do the next meeting is microseconds away; on a busy one spinning would keep others from it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

// A number that changes, and who waits for the change.
class Signal {
 public:
  unsigned now() const { return value_.load(std::memory_order_acquire); }
  void change();
  void wait_beyond(unsigned seen);  // until it is another one

 private:
  std::atomic<unsigned> value_{0};
  std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

class Barrier {
 public:
  void set(int count) { count_ = count; }
  void meet();

 private:
  int count_ = 1;
  std::atomic<int> there_{0};
  Signal round_;
};

class Crew {
 public:
  ~Crew();
  // Runs task(0) here and task(1) to task(count - 1) in threads, and returns when all are done. The task may not raise.
  void run(int count, const std::function<void(int)> &task);
  void meet() { barrier_.meet(); }

 private:
  void work(int index);

  std::vector<std::thread> threads_;
  Signal begun_;
  Barrier barrier_, done_;
  const std::function<void(int)> *task_ = nullptr;
  int count_ = 1;
  bool ends_ = false;
};
