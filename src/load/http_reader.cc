// HttpReader: lines first, then the body in one of three framings (RFC 9112, section 6.3).
#include "usher/load/http_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace usher::load {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::optional<std::uint64_t> number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || status != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

bool lists(std::string_view value, std::string_view word) {
  while (!value.empty()) {
    const std::size_t comma = value.find(',');
    if (same_word(trimmed(value.substr(0, comma)), word)) return true;
    if (comma == std::string_view::npos) return false;
    value.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

void HttpReader::restart() noexcept {
  part_ = Part::status_line;
  chunked_ = coded_ = counted_ = last_ = begun_ = line_cut_ = false;
  status_ = 0;
  line_used_ = 0;
  head_bytes_ = 0;
  left_ = 0;
}

HttpReader::Progress HttpReader::feed(std::string_view bytes) noexcept {
  std::size_t used = 0;
  begun_ = begun_ || !bytes.empty();
  while (used < bytes.size() && part_ != Part::complete && part_ != Part::broken) {
    const std::size_t here = bytes.size() - used;
    if (part_ == Part::body_to_close) {
      used = bytes.size();
    } else if (part_ == Part::counted_body || part_ == Part::chunk_bytes) {
      const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, here));
      left_ -= taken;
      used += taken;
      if (left_ == 0) part_ = part_ == Part::counted_body ? Part::complete : Part::chunk_end;
    } else {
      used += take_line(bytes.substr(used));
    }
  }
  return {part_ == Part::complete ? State::complete : part_ == Part::broken ? State::broken : State::reading, used};
}

HttpReader::State HttpReader::finish() noexcept {
  if (part_ == Part::body_to_close) part_ = Part::complete;
  last_ = true;
  return part_ == Part::complete ? State::complete : State::broken;
}

std::size_t HttpReader::take_line(std::string_view bytes) noexcept {
  const void* newline = std::memchr(bytes.data(), '\n', bytes.size());
  const std::size_t size = newline == nullptr
                               ? bytes.size()
                               : static_cast<std::size_t>(static_cast<const char*>(newline) - bytes.data()) + 1;
  if (part_ == Part::status_line || part_ == Part::header || part_ == Part::trailer) {
    head_bytes_ += static_cast<std::uint32_t>(std::min<std::size_t>(size, head_bytes_max + 1));
    if (head_bytes_ > head_bytes_max) {
      part_ = Part::broken;
      return size;
    }
  }
  std::string_view line = bytes.substr(0, newline == nullptr ? size : size - 1);
  // A line that comes whole is cut like one that comes in pieces: where it was cut must not change what it says.
  line_cut_ = line_cut_ || line.size() > line_bytes_max - line_used_;
  line = line.substr(0, line_bytes_max - line_used_);
  if (newline == nullptr || line_used_ != 0) {
    std::memcpy(line_.data() + line_used_, line.data(), line.size());
    line_used_ = static_cast<std::uint16_t>(line_used_ + line.size());
    line = {line_.data(), line_used_};
  }
  if (newline == nullptr) {
    // What speaks another protocol may never end its line.
    if (part_ == Part::status_line && line.substr(0, 5) != std::string_view("HTTP/").substr(0, line.size()))
      part_ = Part::broken;
    return size;
  }
  line_used_ = 0;
  if (!line_cut_ && !line.empty() && line.back() == '\r') line.remove_suffix(1);
  read_line(line);
  line_cut_ = false;
  return size;
}

void HttpReader::read_line(std::string_view line) noexcept {
  switch (part_) {
    case Part::status_line:
      return read_status_line(line);
    case Part::header:
      return line.empty() ? end_head() : read_header(line);
    case Part::chunk_line:
      return read_chunk_line(line);
    case Part::chunk_end:
      part_ = line.empty() ? Part::chunk_line : Part::broken;
      return;
    case Part::trailer:
      if (line.empty()) part_ = Part::complete;
      return;
    case Part::counted_body:
    case Part::body_to_close:
    case Part::chunk_bytes:
    case Part::complete:
    case Part::broken:
      return;  // these have no lines
  }
}

void HttpReader::read_status_line(std::string_view line) noexcept {
  const auto status = line.size() >= 12 ? number(line.substr(9, 3), 10) : std::nullopt;
  if (!line.starts_with("HTTP/1.") || line.size() < 12 || line[8] != ' ' || !status || *status < 100 ||
      (line.size() > 12 && line[12] != ' ')) {
    part_ = Part::broken;
    return;
  }
  status_ = static_cast<std::uint16_t>(*status);
  last_ = line[7] == '0';  // HTTP/1.0 closes unless it says otherwise
  chunked_ = coded_ = counted_ = false;
  left_ = 0;
  part_ = Part::header;
}

void HttpReader::read_header(std::string_view line) noexcept {
  if (line.front() == ' ' || line.front() == '\t') return;  // folded: goes on with a header that frames nothing
  const std::size_t colon = line.find(':');
  if (colon == 0 || (colon == std::string_view::npos && !line_cut_)) {
    part_ = Part::broken;
    return;
  }
  const std::string_view name = line.substr(0, colon);
  if (name.size() == 14 && same_word(name, "Content-Length")) {
    const auto length = number(trimmed(line.substr(colon + 1)), 10);
    if (!length || line_cut_ || (counted_ && *length != left_)) {
      part_ = Part::broken;
      return;
    }
    counted_ = true;
    left_ = *length;
  } else if (name.size() == 17 && same_word(name, "Transfer-Encoding")) {
    const std::string_view value = line.substr(colon + 1);
    const std::size_t comma = value.rfind(',');  // only the last coding frames the message
    coded_ = true;
    if (line_cut_) part_ = Part::broken;  // its last coding isn't known
    chunked_ = same_word(trimmed(comma == std::string_view::npos ? value : value.substr(comma + 1)), "chunked");
  } else if (name.size() == 10 && same_word(name, "Connection")) {
    if (lists(line.substr(colon + 1), "close")) last_ = true;
    if (lists(line.substr(colon + 1), "keep-alive")) last_ = false;
  }
}

void HttpReader::end_head() noexcept {
  if (status_ < 200) {
    part_ = status_ == 101 ? Part::broken : Part::status_line;  // nobody asked to switch protocols
  } else if (status_ == 204 || status_ == 304) {
    part_ = Part::complete;
  } else if (coded_) {
    part_ = chunked_ ? Part::chunk_line : Part::body_to_close;
  } else if (counted_) {
    part_ = left_ == 0 ? Part::complete : Part::counted_body;
  } else {
    part_ = Part::body_to_close;
  }
}

void HttpReader::read_chunk_line(std::string_view line) noexcept {
  const std::size_t end = line.find(';');
  const bool whole = end != std::string_view::npos || !line_cut_;  // an extension may be of any length, the number not
  const auto size = whole ? number(trimmed(line.substr(0, end)), 16) : std::nullopt;
  left_ = size.value_or(0);
  part_ = !size ? Part::broken : *size == 0 ? Part::trailer : Part::chunk_bytes;
}

}  // namespace usher::load
