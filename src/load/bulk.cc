// Loader: streams that never end, and connections that are only held.
#include "load/loader.h"
#include "load/tag.h"

namespace usher::load {

void Loader::start_bulk(std::uint32_t slot) {
  Connection& connection = connections_[slot];
  connection.failures = 0;
  connection.deadline = TimePoint::max();
  if (plan_.mode == LoadMode::idle) {
    connection.stage = Stage::held;
    if (!request_.empty()) {
      ++connection.in_flight;
      ring_->send(connection.socket, request_, LoadTag{LoadOp::send, slot}.pack());
    }
    receive_bulk(slot);  // notices who is closed
    return;
  }
  connection.stage = Stage::streaming;
  switch (plan_.direction) {
    case Direction::up:
      send_bulk(slot);
      break;
    case Direction::down:
      break;
    case Direction::both:
      send_bulk(slot);
      break;
  }
  receive_bulk(slot);  // upwards, too: it notices the end
}

void Loader::send_bulk(std::uint32_t slot) {
  Connection& connection = connections_[slot];
  ++connection.in_flight;
  ring_->send(connection.socket, bulk_, LoadTag{LoadOp::send, slot}.pack());
}

void Loader::receive_bulk(std::uint32_t slot) {
  Connection& connection = connections_[slot];
  connection.receiving = true;
  ++connection.in_flight;
  ring_->receive(connection.socket, drop_, Ring::Copy::wanted, LoadTag{LoadOp::receive, slot}.pack());
}

}  // namespace usher::load
