// HttpResponse: lines first, then the body in one of three framings (RFC 9112, section 6.3).
#include "usher/health/http_response.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

namespace usher {
namespace {

constexpr std::string_view version_prefix = "HTTP/1.";
constexpr std::size_t excerpt_bytes_max = 40;

/// The start of what the peer sent, safe for a log line.
std::string excerpt(std::string_view text) {
  std::string shown(text.substr(0, excerpt_bytes_max));
  std::ranges::replace_if(shown, [](char c) { return c < 0x20 || c > 0x7e; }, '.');
  return fmt::format("'{}{}'", shown, text.size() > excerpt_bytes_max ? "..." : "");
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::optional<std::uint64_t> number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || status != std::errc{} || stop != end) return std::nullopt;
  return value;
}

}  // namespace

HttpResponse::Stage HttpResponse::stage() const noexcept {
  switch (part_) {
    case Part::status_line:
    case Part::header: return Stage::head;
    case Part::counted_body:
    case Part::body_to_close:
    case Part::chunk_line:
    case Part::chunk_bytes:
    case Part::chunk_end:
    case Part::trailer: return Stage::body;
    case Part::complete: return Stage::complete;
    case Part::broken: return Stage::broken;
  }
  return Stage::broken;
}

HttpResponse::Stage HttpResponse::feed(std::string_view bytes) {
  heard_ = heard_ || !bytes.empty();
  while (!bytes.empty() && part_ != Part::complete && part_ != Part::broken) {
    if (part_ == Part::counted_body || part_ == Part::body_to_close || part_ == Part::chunk_bytes) {
      take_body(bytes);
    } else {
      take_line(bytes);
    }
  }
  return stage();
}

HttpResponse::Stage HttpResponse::finish() {
  switch (stage()) {
    case Stage::head:
      break_off(heard_ ? "closed in the middle of its answer" : "closed before answering");
      break;
    case Stage::body:
      if (part_ == Part::body_to_close) {
        part_ = Part::complete;
      } else {
        break_off("closed before the end of the body");
      }
      break;
    case Stage::complete:
    case Stage::broken: break;
  }
  return stage();
}

void HttpResponse::break_off(std::string problem) {
  part_ = Part::broken;
  problem_ = std::move(problem);
}

void HttpResponse::take_line(std::string_view& bytes) {
  const std::size_t newline = bytes.find('\n');
  const bool whole = newline != std::string_view::npos;
  const std::string_view piece = bytes.substr(0, whole ? newline + 1 : bytes.size());
  const bool in_chunks = part_ == Part::chunk_line || part_ == Part::chunk_end;
  const std::size_t used = in_chunks ? line_.size() : head_bytes_;
  const std::size_t room = (in_chunks ? http_chunk_line_bytes_max : http_head_bytes_max) - used;
  // Never keeps more than the limit, however much came at once.
  line_.append(piece.substr(0, room));
  if (part_ == Part::status_line) {
    // Told by the first wrong byte, as what speaks another protocol may wait for us and never end its line.
    const std::size_t seen = std::min(line_.size(), version_prefix.size());
    if (line_.compare(0, seen, version_prefix, 0, seen) != 0) {
      break_off("answered no HTTP: " + excerpt(std::string_view(line_).substr(0, line_.find_first_of("\r\n"))));
      return;
    }
  }
  if (piece.size() > room) {
    break_off(in_chunks ? fmt::format("a chunk's line is over {} bytes", http_chunk_line_bytes_max)
                        : fmt::format("its headers are over {} KiB", http_head_bytes_max / 1024));
    return;
  }
  if (!in_chunks) head_bytes_ += piece.size();
  bytes.remove_prefix(piece.size());
  if (!whole) return;
  const std::string line_kept = std::exchange(line_, {});
  std::string_view line(line_kept);
  line.remove_suffix(line.ends_with("\r\n") ? 2 : 1);
  switch (part_) {
    case Part::status_line: read_status_line(line); break;
    case Part::header: read_header(line); break;
    case Part::chunk_line: read_chunk_line(line); break;
    case Part::chunk_end:
      if (line.empty()) {
        part_ = Part::chunk_line;
      } else {
        break_off("a chunk doesn't end where it said");
      }
      break;
    case Part::trailer:
      if (line.empty()) part_ = Part::complete;
      break;
    case Part::counted_body:
    case Part::body_to_close:
    case Part::chunk_bytes:
    case Part::complete:
    case Part::broken: break;  // these have no lines; feed() doesn't come here with them
  }
}

void HttpResponse::take_body(std::string_view& bytes) {
  std::size_t size = std::min(bytes.size(), http_body_bytes_max - body_.size());
  if (part_ != Part::body_to_close) size = static_cast<std::size_t>(std::min<std::uint64_t>(size, left_));
  body_.append(bytes.substr(0, size));
  bytes.remove_prefix(size);
  left_ -= part_ == Part::body_to_close ? 0 : size;
  if (body_.size() == http_body_bytes_max) {
    part_ = Part::complete;
  } else if (part_ == Part::counted_body && left_ == 0) {
    part_ = Part::complete;
  } else if (part_ == Part::chunk_bytes && left_ == 0) {
    part_ = Part::chunk_end;
  }
}

void HttpResponse::read_status_line(std::string_view line) {
  // HTTP/1.D SP DDD, then the end or SP and a phrase.
  const auto digit = [&](std::size_t at) { return line[at] >= '0' && line[at] <= '9'; };
  const bool shaped = line.size() >= 12 && digit(7) && line[8] == ' ' && digit(9) && line[9] != '0' && digit(10) &&
                      digit(11) && (line.size() == 12 || line[12] == ' ');
  if (!shaped) return break_off("answered no HTTP: " + excerpt(line));
  status_read_ = static_cast<unsigned>(*number(line.substr(9, 3), 10));
  content_length_.reset();
  chunked_ = coded_ = false;
  part_ = Part::header;
}

void HttpResponse::read_header(std::string_view line) {
  if (line.empty()) return end_head();
  if (line.front() == ' ' || line.front() == '\t') return;  // folded: goes on with a header that we don't read
  const std::size_t colon = line.find(':');
  if (colon == 0 || colon == std::string_view::npos) return break_off("answered a bad header: " + excerpt(line));
  const std::string_view name = trimmed(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (same_word(name, "Transfer-Encoding")) {
    // Only the last coding frames the message, and the last header of that name continues the list.
    const std::size_t comma = value.rfind(',');
    chunked_ = same_word(trimmed(comma == std::string_view::npos ? value : value.substr(comma + 1)), "chunked");
    coded_ = true;
  } else if (same_word(name, "Content-Length")) {
    const auto length = number(value, 10);
    if (!length || (content_length_ && *content_length_ != *length)) {
      return break_off("answered a bad Content-Length: " + excerpt(value));
    }
    content_length_ = length;
  }
}

void HttpResponse::end_head() {
  if (status_read_ < 200 && status_read_ != 101) {
    part_ = Part::status_line;
    return;
  }
  status_ = status_read_;
  if (bodiless_ || status_ == 101 || status_ == 204 || status_ == 304) {
    part_ = Part::complete;
  } else if (coded_) {
    part_ = chunked_ ? Part::chunk_line : Part::body_to_close;
  } else if (content_length_) {
    left_ = *content_length_;
    part_ = left_ == 0 ? Part::complete : Part::counted_body;
  } else {
    part_ = Part::body_to_close;
  }
}

void HttpResponse::read_chunk_line(std::string_view line) {
  const auto size = number(trimmed(line.substr(0, line.find(';'))), 16);
  if (!size) return break_off("answered a bad chunk: " + excerpt(line));
  left_ = *size;
  part_ = left_ == 0 ? Part::trailer : Part::chunk_bytes;
}

}  // namespace usher
