// Steering by eBPF: loads the program, owns the maps that all groups share, and attaches an instance to each group.
#include "steer/ebpf_steering.h"

#ifdef USHER_HAVE_BPF

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <new>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "steer.skel.h"
#include "steer/libbpf_log.h"
#include "usher/base/log.h"
#include "usher/steer/abi.h"

namespace usher {
namespace {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == sizeof(__u32),
              "the worker's atomic word is the program's plain one");

constexpr std::size_t loads_bytes = std::size_t{STEER_WORKERS_MAX} * STEER_LINE_BYTES;

/// An opened or loaded instance of steer.bpf.c. What it attached to stays attached when it goes: the group holds the
/// program.
struct CloseProgram {
  void operator()(steer_bpf* program) const noexcept { steer_bpf::destroy(program); }
};
using Program = std::unique_ptr<steer_bpf, CloseProgram>;

Result<Program> open_program(std::uint32_t workers) {
  Program program(steer_bpf::open());
  if (!program) return std::unexpected(kernel_refused("opening refused", errno));
  program->rodata->worker_count = workers;
  return program;
}

Result<void> load_program(Program& program) {
  if (const int answer = steer_bpf::load(program.get()); answer != 0) {
    return std::unexpected(kernel_refused("loading refused", -answer));
  }
  return {};
}

/// The load map, as the workers see it.
class LoadLines {
 public:
  static Result<std::unique_ptr<LoadLines>> map(int loads) {
    void* memory = ::mmap(nullptr, loads_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, loads, 0);
    if (memory == MAP_FAILED) return std::unexpected(kernel_refused("mapping the load map refused", errno));
    return std::unique_ptr<LoadLines>(new LoadLines(memory));
  }
  LoadLines(const LoadLines&) = delete;
  LoadLines& operator=(const LoadLines&) = delete;
  ~LoadLines() { ::munmap(lines_, loads_bytes); }

  std::atomic<std::uint32_t>* sessions(std::uint32_t index) noexcept { return sessions_[index]; }
  std::uint64_t sent(std::uint32_t index) const noexcept {
    return std::atomic_ref<__u64>(lines_[index].sent).load(std::memory_order_relaxed);
  }

 private:
  explicit LoadLines(void* memory) noexcept : lines_(static_cast<WorkerLine*>(memory)) {
    for (std::size_t i = 0; i < sessions_.size(); ++i)
      sessions_[i] = new (&lines_[i].sessions) std::atomic<std::uint32_t>(0);
  }

  WorkerLine* lines_;
  std::array<std::atomic<std::uint32_t>*, STEER_WORKERS_MAX> sessions_{};
};

/// Closing our descriptors is all there is to do: group, program and socket array keep each other until the sockets
/// close.
class EbpfGroup final : public SteeredGroup {
 public:
  explicit EbpfGroup(Program program) noexcept : program_(std::move(program)) {}

 private:
  Program program_;
};

Result<void> seat(const bpf_map* seats, std::span<const Fd* const> sockets) {
  for (std::uint32_t worker = 0; worker < sockets.size(); ++worker) {
    const std::uint64_t number = static_cast<std::uint64_t>(sockets[worker]->number());
    if (bpf_map_update_elem(bpf_map__fd(seats), &worker, &number, BPF_NOEXIST) == 0) continue;
    const int code = errno;
    Error error = system_error(fmt::format("the socket of worker {} can't be steered", worker), code);
    if (code == EBUSY) error.message += "; it is steered already, and the kernel allows that once";
    if (code == EINVAL) error.message += "; it must listen, with SO_REUSEPORT";
    return std::unexpected(std::move(error));
  }
  return {};
}

class EbpfSteering final : public Steering {
 public:
  EbpfSteering(Program pattern, std::unique_ptr<LoadLines> lines, std::uint32_t workers, std::size_t cpus)
      : pattern_(std::move(pattern)), lines_(std::move(lines)), workers_(workers), per_cpu_(cpus) {}

  Result<std::unique_ptr<SteeredGroup>> attach(std::span<const Fd* const> sockets) override {
    if (sockets.empty() || sockets.size() > workers_) {
      return fail(fmt::format("{} sockets to steer among {} workers", sockets.size(), workers_));
    }
    for (const Fd* const socket : sockets) {
      if (socket == nullptr || !socket->open()) return fail("a socket to steer isn't open");
    }
    auto group = steer_to(sockets);
    if (!group) leave_to_the_hash(*sockets.front());
    return group;
  }

  std::atomic<std::uint32_t>* worker_load(std::uint32_t index) override {
    return index < workers_ ? lines_->sessions(index) : &beyond_;
  }
  std::uint64_t steered_to(std::uint32_t index) const override { return index < workers_ ? lines_->sent(index) : 0; }

  SteeringCounts counts() override {
    return {.chosen = count(STEER_CHOSEN),
            .second_choice = count(STEER_SECOND_CHOICE),
            .fell_back = count(STEER_FELL_BACK),
            .migrated = count(STEER_MIGRATED)};
  }

  bool active() const noexcept override { return true; }
  std::string describe() const override { return "ebpf"; }

 private:
  /// A group has an instance of its own, as a program can't tell which group it runs for; loads and counts are shared.
  Result<std::unique_ptr<SteeredGroup>> steer_to(std::span<const Fd* const> sockets) {
    auto program = open_program(static_cast<std::uint32_t>(sockets.size()));
    if (!program) return std::unexpected(program.error());
    auto& maps = (*program)->maps;
    for (const auto& [own, shared] :
         {std::pair{maps.loads, pattern_->maps.loads}, std::pair{maps.verdicts, pattern_->maps.verdicts}}) {
      if (const int answer = bpf_map__reuse_fd(own, bpf_map__fd(shared)); answer != 0) {
        return std::unexpected(kernel_refused("sharing a map between groups refused", -answer));
      }
    }
    if (auto loaded = load_program(*program); !loaded) return std::unexpected(loaded.error());
    if (auto seated = seat(maps.sockets, sockets); !seated) return std::unexpected(seated.error());

    const int number = bpf_program__fd((*program)->progs.steer);
    if (::setsockopt(sockets.front()->number(), SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &number, sizeof number) != 0) {
      return std::unexpected(kernel_refused("attaching to the listeners refused", errno));
    }
    return std::make_unique<EbpfGroup>(std::move(*program));
  }

  /// A program of an earlier usher (an upgrade hands sockets on) would go on choosing by loads that nobody publishes
  /// any more.
  static void leave_to_the_hash(const Fd& socket) {
    const int unused = 0;
    if (::setsockopt(socket.number(), SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof unused) == 0) return;
    if (errno == ENOENT || errno == EINVAL) return;  // the group has no program; the socket has no group
    log_warning("steer", "{}", system_error("a steering program could not be detached").message);
  }

  /// A count whose read fails stays at what it was: a counter never runs backwards.
  std::uint64_t count(SteerVerdict verdict) {
    const std::uint32_t key = verdict;
    if (bpf_map_lookup_elem(bpf_map__fd(pattern_->maps.verdicts), &key, per_cpu_.data()) == 0) {
      counts_[key] = std::accumulate(per_cpu_.begin(), per_cpu_.end(), std::uint64_t{0});
    } else {
      log_warning("steer", "{}", system_error("a steering counter could not be read").message);
    }
    return counts_[key];
  }

  Program pattern_;  ///< attached to nothing: it proved that the kernel accepts the program, and owns the shared maps
  std::unique_ptr<LoadLines> lines_;
  std::uint32_t workers_;
  std::atomic<std::uint32_t> beyond_{0};
  std::vector<std::uint64_t> per_cpu_;
  std::array<std::uint64_t, STEER_VERDICTS> counts_{};
};

}  // namespace

Result<std::unique_ptr<Steering>> load_ebpf_steering(std::uint32_t workers) {
  libbpf_set_print(print_to_debug_log);
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return std::unexpected(system_error("counting CPUs refused", -cpus));
  auto program = open_program(workers);
  if (!program) return std::unexpected(program.error());
  if (auto loaded = load_program(*program); !loaded) return std::unexpected(loaded.error());
  auto lines = LoadLines::map(bpf_map__fd((*program)->maps.loads));
  if (!lines) return std::unexpected(lines.error());
  return std::make_unique<EbpfSteering>(std::move(*program), std::move(*lines), workers,
                                        static_cast<std::size_t>(cpus));
}

}  // namespace usher

#endif  // USHER_HAVE_BPF
