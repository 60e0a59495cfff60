// The null object: no eBPF, the kernel's hash spreads connections, and no caller has to ask.
#include <utility>
#include <vector>

#include "usher/steer/steering.h"

namespace usher {
namespace {

class IdleGroup final : public SteeredGroup {};

class NullSteering final : public Steering {
 public:
  NullSteering(std::uint32_t workers, std::string reason) : loads_(workers), reason_(std::move(reason)) {}

  Result<std::unique_ptr<SteeredGroup>> attach(std::span<const Fd* const>) override {
    return std::make_unique<IdleGroup>();
  }
  std::atomic<std::uint32_t>* worker_load(std::uint32_t index) override {
    return index < loads_.size() ? &loads_[index].sessions : &beyond_.sessions;
  }
  std::uint64_t steered_to(std::uint32_t) const override { return 0; }
  SteeringCounts counts() override { return {}; }
  bool active() const noexcept override { return false; }
  std::string describe() const override { return "kernel hash: " + reason_; }

 private:
  // Workers publish whether or not anybody reads, so the words stay a cache line apart here too.
  struct alignas(64) Load {
    std::atomic<std::uint32_t> sessions{0};
  };
  std::vector<Load> loads_;
  Load beyond_;
  std::string reason_;
};

}  // namespace

std::unique_ptr<Steering> make_null_steering(std::uint32_t workers, std::string reason) {
  return std::make_unique<NullSteering>(workers, std::move(reason));
}

}  // namespace usher
