// See settings.h.

#include "settings.h"

#include <algorithm>
#include <stdexcept>

namespace {

[[noreturn]] void refuse(const std::string& name, const Json& value, const std::string& wanted) {
  throw std::runtime_error(name + " is " + to_line(value) + "; it must be " + wanted);
}

std::int64_t whole(const std::string& name, const Json& value, std::int64_t least) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < least) {
    refuse(name, value, "a whole number, at least " + std::to_string(least));
  }
  return value;
}

double number(const std::string& name, const Json& value, bool fits(double), const std::string& wanted) {
  if (!value.is_number() || !fits(value.get<double>())) refuse(name, value, wanted);
  return value;
}

bool truth(const std::string& name, const Json& value) {
  if (!value.is_boolean()) refuse(name, value, "true or false");
  return value;
}

// A number of a token; none where there is null.
std::optional<std::int64_t> token(const std::string& name, const Json& value) {
  if (value.is_null()) return std::nullopt;
  return whole(name, value, 0);
}

// A list, or one alone.
std::vector<Json> several(const Json& value) {
  return value.is_array() ? value.get<std::vector<Json>>() : std::vector<Json>{value};
}

std::vector<std::int64_t> tokens(const std::string& name, const Json& values) {
  std::vector<std::int64_t> found;
  for (const Json& value : several(values)) found.push_back(whole(name, value, 0));
  return found;
}

// What the task says, with the changes in its place.
Json changed(Json settings, const std::vector<std::string>& changes) {
  for (const std::string& change : changes) {
    const std::size_t equals = change.find('=');
    const std::string name = change.substr(0, equals);
    if (equals == std::string::npos || !settings.contains(name)) {
      std::string names;
      for (const auto& [each, value] : settings.items()) names += (names.empty() ? "" : ", ") + each;
      throw std::runtime_error("there is no setting " + change + "; write NAME=VALUE, with one of: " + names);
    }
    const std::string text = change.substr(equals + 1);
    const Json value = Json::parse(text, nullptr, false);
    settings[name] = value.is_discarded() ? Json(text) : value;
    if (name == "max_new_tokens") {  // the least of before is for the most of before
      const std::int64_t most = whole(name, settings[name], 1);
      const auto is_least = [](const std::string& other) { return other.rfind("min_new_tokens=", 0) == 0; };
      if (std::none_of(changes.begin(), changes.end(), is_least)) {
        settings["min_new_tokens"] = std::min(most, whole("min_new_tokens", settings["min_new_tokens"], 0));
      }
    }
  }
  return settings;
}

}  // namespace

Settings read_settings(const Json& task, const std::vector<std::string>& changes) {
  Settings found{};
  const Json settings = changed(task.at("settings"), changes);
  for (const auto& [name, value] : settings.items()) {
    if (name == "max_new_tokens") {
      found.max_new_tokens = static_cast<std::size_t>(whole(name, value, 1));
    } else if (name == "min_new_tokens") {
      found.min_new_tokens = static_cast<std::size_t>(whole(name, value, 0));
    } else if (name == "do_sample") {
      found.do_sample = truth(name, value);
    } else if (name == "temperature") {
      found.temperature = number(name, value, [](double given) { return given > 0; }, "above 0");
    } else if (name == "top_k") {
      found.top_k = static_cast<std::size_t>(whole(name, value, 0));
    } else if (name == "top_p") {
      found.top_p = number(name, value, [](double given) { return given > 0 && given <= 1; }, "above 0 and at most 1");
    } else if (name == "min_p") {
      found.min_p = number(name, value, [](double given) { return given >= 0 && given <= 1; }, "between 0 and 1");
    } else if (name == "repetition_penalty") {
      found.repetition_penalty = number(name, value, [](double given) { return given > 0; }, "above 0");
    } else if (name == "no_repeat_ngram_size") {
      found.no_repeat_ngram_size = static_cast<std::size_t>(whole(name, value, 0));
    } else if (name == "seed") {
      if (!value.is_null()) found.seed = static_cast<std::uint64_t>(whole(name, value, 0));
    } else if (name == "eos_ids") {
      found.eos_ids = tokens(name, value);
    } else if (name == "bad_ids") {
      found.bad_ids = tokens(name, value);
    } else if (name == "decoder_start_id") {
      found.decoder_start_id = token(name, value);
    } else if (name == "forced_bos_id") {
      found.forced_bos_id = token(name, value);
    } else if (name == "forced_eos_id") {
      found.forced_eos_id = token(name, value);
    } else if (name == "stop") {
      for (const Json& text : several(value)) {
        if (!text.is_string()) refuse(name, value, "texts");
        found.stop.push_back(text);
      }
    } else if (name == "num_beams") {
      if (whole(name, value, 1) > 1) {
        throw std::runtime_error("num_beams is " + to_line(value) +
                                 "; this example follows no beams. num_beams=1 takes the likeliest token each time; `python run.py` "
                                 "searches beams");
      }
    } else if (name != "length_penalty" && name != "early_stopping" && name != "pad_id") {  // of beams, and of several texts at once
      throw std::runtime_error("manifest.json: this example does not know the setting " + name);
    }
  }
  if (found.min_new_tokens > found.max_new_tokens) {
    refuse("min_new_tokens", found.min_new_tokens, "at most max_new_tokens, " + std::to_string(found.max_new_tokens));
  }
  return found;
}
