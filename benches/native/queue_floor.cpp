// The floor of a hand-over between threads: a C++ queue under a mutex with a condition variable.
//
//   queue_floor paced <tokens> <microseconds>   latency, switches and CPU time of a paced producer
//   queue_floor first <rounds> <microseconds>   latency of one item to a thread that sleeps
//
// Prints one JSON object.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <queue>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <time.h>
#include <vector>

namespace {

std::int64_t now()
{
    timespec at{};
    clock_gettime(CLOCK_MONOTONIC, &at);
    return std::int64_t{at.tv_sec} * 1000000000 + at.tv_nsec;
}

void sleep_until(std::int64_t at)
{
    timespec until{};
    until.tv_sec = at / 1000000000;
    until.tv_nsec = at % 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) != 0) {
    }
}

struct Item {
    std::string text;
    std::int64_t made;
};

class Queue {
public:
    void push(Item item)
    {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            items_.push(std::move(item));
        }
        arrived_.notify_one();
    }

    Item pop()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        arrived_.wait(lock, [this] { return !items_.empty(); });
        Item item = std::move(items_.front());
        items_.pop();
        return item;
    }

private:
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::queue<Item> items_;
};

double cpu_ns(const rusage &usage)
{
    const auto ns = [](const timeval &time) { return time.tv_sec * 1e9 + time.tv_usec * 1e3; };
    return ns(usage.ru_utime) + ns(usage.ru_stime);
}

void report(std::vector<std::int64_t> &latencies, const rusage &before, const rusage &after)
{
    std::sort(latencies.begin(), latencies.end());
    const double count = static_cast<double>(latencies.size());
    std::printf("{\"p50_ns\": %lld, \"p99_ns\": %lld, \"switches\": %.3f, \"cpu_ns\": %.1f}\n",
                static_cast<long long>(latencies[latencies.size() / 2]),
                static_cast<long long>(latencies[latencies.size() * 99 / 100]),
                static_cast<double>(after.ru_nvcsw - before.ru_nvcsw) / count,
                (cpu_ns(after) - cpu_ns(before)) / count);
}

// What the consumer reads as latency is taken inside its loop; the text is kept as a reader would.
void run(long count, std::int64_t step, bool first)
{
    Queue queue;
    std::vector<std::int64_t> latencies;
    latencies.reserve(static_cast<std::size_t>(count));
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const auto produce = [&] {
        std::int64_t due = now();
        for (long at = 0; at < count; at++) {
            due += step;
            sleep_until(due);
            const std::int64_t made = now();
            queue.push(Item{" token", made});
        }
    };
    const auto consume = [&] {
        for (long at = 0; at < count; at++) {
            const Item item = queue.pop();
            latencies.push_back(now() - item.made);
        }
    };
    if (first) {
        // The worker sleeps, the caller asks: as a run is handed to a model's thread.
        std::thread worker(consume);
        produce();
        worker.join();
    } else {
        std::thread producer(produce);
        consume();
        producer.join();
    }
    getrusage(RUSAGE_SELF, &after);
    report(latencies, before, after);
}

}  // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    run(std::atol(argv[2]), std::atol(argv[3]) * 1000, std::strcmp(argv[1], "first") == 0);
    return 0;
}
