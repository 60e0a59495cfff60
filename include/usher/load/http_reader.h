// HttpReader: counts its way through the HTTP/1.x answers of one connection and keeps none of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace usher::load {

/// RFC 9112: bodies by Content-Length, by chunks, or up to the close; 1xx answers are skipped. Unlike health's
/// HttpResponse, which keeps the body and explains what was wrong, it allocates nothing and can be used again for the
/// next answer: one runs for each of many connections, at every message. Not thread safe.
class HttpReader {
 public:
  enum class State { reading, complete, broken };
  struct Progress {
    State state;
    std::size_t used;  ///< bytes that belong to this answer; fewer than given where it is complete
  };

  /// The next answer begins.
  void restart() noexcept;
  Progress feed(std::string_view bytes) noexcept;
  /// The peer has closed: complete where the body ends so.
  [[nodiscard]] State finish() noexcept;

  [[nodiscard]] unsigned status() const noexcept { return status_; }
  /// Whether the server will take no other request on this connection.
  [[nodiscard]] bool last() const noexcept { return last_; }
  /// Whether any byte of this answer has come.
  [[nodiscard]] bool begun() const noexcept { return begun_; }

 private:
  enum class Part : std::uint8_t {
    status_line,
    header,
    counted_body,
    body_to_close,
    chunk_line,
    chunk_bytes,
    chunk_end,
    trailer,
    complete,
    broken
  };

  std::size_t take_line(std::string_view bytes) noexcept;
  void read_line(std::string_view line) noexcept;
  void read_status_line(std::string_view line) noexcept;
  void read_header(std::string_view line) noexcept;
  void end_head() noexcept;
  void read_chunk_line(std::string_view line) noexcept;

  /// What is read of a line, whether it comes whole or in pieces. What says where a body ends must fit.
  static constexpr std::size_t line_bytes_max = 240;
  static constexpr std::uint32_t head_bytes_max = 64 * 1024;

  Part part_ = Part::status_line;
  bool chunked_ = false;
  bool coded_ = false;  ///< some Transfer-Encoding was named
  bool counted_ = false;
  bool last_ = false;
  bool begun_ = false;
  bool line_cut_ = false;  ///< this line is longer than what is read of it
  std::uint16_t status_ = 0;
  std::uint16_t line_used_ = 0;
  std::uint32_t head_bytes_ = 0;
  std::uint64_t left_ = 0;
  std::array<char, line_bytes_max> line_;
};

}  // namespace usher::load
