// Fuzzes HttpReader: any answers in a row, cut anyhow, end at the same bytes and say the same; it keeps no memory.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <type_traits>
#include <vector>

#include "usher/base/rng.h"
#include "usher/load/http_reader.h"

namespace {

using usher::load::HttpReader;
using State = HttpReader::State;

/// One reader stands by each of many connections: it owns nothing, and is small.
static_assert(std::is_trivially_copyable_v<HttpReader> && sizeof(HttpReader) <= 512);

void demand(bool holds) {
  if (!holds) std::abort();
}

/// What a reader made of one answer.
struct Reading {
  State state = State::reading;
  State at_close = State::reading;  ///< had the peer closed there
  std::size_t used = 0;             ///< not told where it is broken: the reader may know it early
  unsigned status = 0;
  bool last = false;
  bool begun = false;
  bool operator==(const Reading&) const = default;
};

/// A copy in a block of its own size: the sanitizer sees a byte read past the end.
HttpReader::Progress feed_copy(HttpReader& reader, std::string_view bytes) {
  const std::vector<char> copy(bytes.begin(), bytes.end());
  const auto progress = reader.feed({copy.data(), copy.size()});
  demand(progress.used <= bytes.size());
  demand(progress.state != State::reading || progress.used == bytes.size());
  return progress;
}

/// Pieces of at most `piece_max` bytes; 0: all at once.
Reading read(HttpReader& reader, std::string_view bytes, std::uint64_t piece_max, usher::Rng& rng) {
  Reading reading;
  while (reading.used < bytes.size() && reading.state == State::reading) {
    const std::string_view rest = bytes.substr(reading.used);
    const auto [state, used] = feed_copy(reader, piece_max == 0 ? rest : rest.substr(0, 1 + rng.below(piece_max)));
    reading.state = state;
    reading.used += used;
  }
  if (reading.state == State::broken) reading.used = 0;
  reading.status = reader.status();
  reading.last = reader.last();
  reading.begun = reader.begun();
  HttpReader closed = reader;
  reading.at_close = closed.finish();
  demand(reading.at_close != State::reading && closed.last());
  return reading;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  usher::Rng rng(bytes[0]);
  const std::uint64_t piece_max = 1 + rng.below(64);
  std::string_view rest(reinterpret_cast<const char*>(bytes + 1), size - 1);

  HttpReader whole;
  HttpReader split;
  Reading first;
  do {
    whole.restart();
    split.restart();
    HttpReader fresh;
    first = read(whole, rest, 0, rng);
    demand(first == read(split, rest, piece_max, rng));
    demand(first == read(fresh, rest, 1, rng));  // nothing of the answer before is left
    demand(first.begun != rest.empty());
    demand(first.state == State::reading || first.at_close == first.state);
    rest.remove_prefix(first.used);
  } while (first.state == State::complete && !rest.empty());
  return 0;
}
