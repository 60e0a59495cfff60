// HttpResponse: reads one HTTP/1.x answer as it comes, for health checks; pure, no sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace usher {

/// Most bytes of status lines, headers (those of 1xx answers too) and trailers; more is not an answer but an attack.
inline constexpr std::size_t http_head_bytes_max = 16 * 1024;
/// What is kept of a body. The answer counts as complete when that much has come.
inline constexpr std::size_t http_body_bytes_max = 64 * 1024;
/// Most bytes of the line before a chunk, extensions included.
inline constexpr std::size_t http_chunk_line_bytes_max = 1024;

/// An incremental parser after RFC 9112. 1xx answers are skipped (but 101, which ends the talk), bodies are taken by
/// chunks, by Content-Length or up to the close. Lenient where it may be (a bare LF ends a line, folded headers are
/// ignored), strict where framing is at stake. However the bytes are split, stage, status and body come out the same.
/// Bounded memory. Not thread safe.
class HttpResponse {
 public:
  enum class Stage {
    head,      ///< the final status line and its headers are not all here
    body,      ///< status() is known, body() grows
    complete,  ///< the message ended, or http_body_bytes_max of its body are here
    broken,    ///< problem() says why; status() and body() are what came before
  };

  /// `method` of the request: the answer to HEAD has no body.
  explicit HttpResponse(std::string_view method) : bodiless_(method == "HEAD") {}

  /// The next bytes; any number of them. What comes after the end is ignored.
  Stage feed(std::string_view bytes);
  /// The peer has closed: completes a body that ends so, breaks anything else that isn't complete.
  Stage finish();

  [[nodiscard]] Stage stage() const noexcept;
  /// 0 until the final head is complete.
  [[nodiscard]] unsigned status() const noexcept { return status_; }
  /// What came of the body so far, chunks joined, at most http_body_bytes_max.
  [[nodiscard]] const std::string& body() const noexcept { return body_; }
  /// A sentence for people: "answered no HTTP: 'SSH-2.0-OpenSSH_9.2'"; "" unless broken.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

 private:
  enum class Part {
    status_line,
    header,
    counted_body,
    body_to_close,
    chunk_line,
    chunk_bytes,
    chunk_end,
    trailer,
    complete,
    broken,
  };

  void take_line(std::string_view& bytes);
  void take_body(std::string_view& bytes);
  void read_status_line(std::string_view line);
  void read_header(std::string_view line);
  void read_chunk_line(std::string_view line);
  void end_head();
  void break_off(std::string problem);

  Part part_ = Part::status_line;
  bool bodiless_;
  bool chunked_ = false;
  bool coded_ = false;  ///< some Transfer-Encoding was named
  bool heard_ = false;  ///< any byte came at all
  unsigned status_ = 0;
  unsigned status_read_ = 0;  ///< of the head that is being read, perhaps of a 1xx
  std::optional<std::uint64_t> content_length_;
  std::uint64_t left_ = 0;  ///< bytes of the chunk or of the counted body
  std::size_t head_bytes_ = 0;
  std::string line_;
  std::string body_;
  std::string problem_;
};

}  // namespace usher
