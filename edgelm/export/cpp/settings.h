// How a model writes: what manifest.json says, and what was asked for beside it. edgelm/tasks/generation.py in runtime/ says what each
// setting means.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bundle.h"

struct Settings {
  std::size_t max_new_tokens, min_new_tokens;
  bool do_sample;
  double temperature, top_p, min_p, repetition_penalty;
  std::size_t top_k, no_repeat_ngram_size;
  std::optional<std::uint64_t> seed;
  std::vector<std::int64_t> eos_ids, bad_ids;
  std::optional<std::int64_t> decoder_start_id, forced_bos_id, forced_eos_id;
  std::vector<std::string> stop;
};

// Those of a task, with changes of the form NAME=VALUE, where a value is JSON, or a text as it is. Throws where a name or a value is
// none, and where something is asked for that this example does not do: beams.
Settings read_settings(const Json& task, const std::vector<std::string>& changes);
