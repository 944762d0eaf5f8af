// See streaming.h.

#include "streaming.h"

#include <algorithm>

namespace {

const std::string kUnfinished = "\xEF\xBF\xBD";  // U+FFFD: what bytes decode to that are no whole character
constexpr std::size_t kBefore = 8;               // tokens of the prompt that the first ones are read behind

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// What stands behind as many characters as another text has. An unfinished character, of fewer or more bytes then, is one too.
std::string behind(const std::string& text, const std::string& other) {
  auto left = std::count_if(other.begin(), other.end(), begins_character);
  for (std::size_t place = 0; place < text.size(); ++place) {
    if (begins_character(text[place]) && left-- == 0) return text.substr(place);
  }
  return "";
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

StopStrings::StopStrings(const std::vector<std::string>& stops) {
  std::copy_if(stops.begin(), stops.end(), std::back_inserter(stops_), [](const std::string& stop) { return !stop.empty(); });
}

std::string StopStrings::operator()(std::string text) {
  if (found_) return "";
  text = held_ + text;
  std::size_t first = std::string::npos, kept = 0;
  for (const std::string& stop : stops_) {
    first = std::min(first, text.find(stop));
    std::size_t size = std::min(text.size(), stop.size() - 1);  // the longest end that the stop begins with; whole characters, as UTF-8 is
    while (size > 0 && !ends_with(text, stop.substr(0, size))) --size;
    kept = std::max(kept, size);
  }
  if (first != std::string::npos) {
    found_ = true;
    held_.clear();
    return text.substr(0, first);
  }
  held_ = text.substr(text.size() - kept);
  return text.substr(0, text.size() - kept);
}

std::string StopStrings::rest() {
  std::string text;
  text.swap(held_);
  return text;
}

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops, const std::vector<std::int64_t>& before)
    : tokenizer_(tokenizer),
      stops_(stops),
      window_(before.end() - static_cast<std::ptrdiff_t>(std::min(before.size(), kBefore)), before.end()),
      said_(tokenizer.decode(window_)),
      known_(window_.size()) {}

std::string TextStream::push(std::int64_t token) {
  window_.push_back(token);
  const std::string text = tokenizer_.decode(window_);
  const std::string piece = behind(text, said_);
  if (piece.empty() || ends_with(text, kUnfinished)) return "";
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(known_));
  said_ = tokenizer_.decode(window_);
  known_ = window_.size();
  return stops_(piece);
}

std::string TextStream::finish() {
  const std::string text = stops_(behind(tokenizer_.decode(window_), said_));
  return text + stops_.rest();
}
