// See choosing.h. Functions change logits in place; what cannot come gets minus infinity.

#include "choosing.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>

namespace {

using Ids = std::vector<std::int64_t>;
using Logits = std::vector<float>;

constexpr float kNever = -std::numeric_limits<float>::infinity();

float& at(Logits& logits, std::int64_t token) { return logits[static_cast<std::size_t>(token)]; }

void force(Logits& logits, std::int64_t token) {
  std::fill(logits.begin(), logits.end(), kNever);
  at(logits, token) = 0;
}

// Of tokens that are there already: divides what is positive and multiplies what is negative (CTRL, Keskar et al. 2019), once each.
void penalize_repetition(Logits& logits, Ids tokens, float penalty) {
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (const std::int64_t token : tokens) {
    float& logit = at(logits, token);
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
}

// Forbids what would end a row of `size` tokens that is there already (Paulus et al. 2018).
void forbid_ngrams(Logits& logits, const Ids& tokens, std::size_t size) {
  if (tokens.size() < size) return;
  const auto last = tokens.end() - static_cast<std::ptrdiff_t>(size - 1);
  for (auto begin = tokens.begin(); begin + static_cast<std::ptrdiff_t>(size) <= tokens.end(); ++begin) {
    if (std::equal(last, tokens.end(), begin)) at(logits, begin[static_cast<std::ptrdiff_t>(size) - 1]) = kNever;
  }
}

// The k largest, and what equals the last of them (Fan et al. 2018).
void keep_top_k(Logits& logits, std::size_t k) {
  if (k >= logits.size()) return;
  Logits sorted = logits;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k - 1), sorted.end(), std::greater<float>());
  for (float& logit : logits) {
    if (logit < sorted[k - 1]) logit = kNever;
  }
}

// Probabilities.
std::vector<double> softmax(const Logits& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> shares(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) sum += shares[i] = std::exp(logits[i] - largest);
  for (double& share : shares) share /= sum;
  return shares;
}

// The fewest whose probabilities sum to p (nucleus sampling, Holtzman et al. 2020).
void keep_top_p(Logits& logits, double p) {
  const std::vector<double> shares = softmax(logits);
  std::vector<std::size_t> order;  // all others sum to less than what is left out
  for (std::size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] > (1 - p) / static_cast<double>(shares.size())) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) { return shares[one] > shares[other]; });
  std::vector<bool> stays(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < order.size() && (i == 0 || sum < p); ++i) {
    stays[order[i]] = true;
    sum += shares[order[i]];
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!stays[i]) logits[i] = kNever;
  }
}

// Those at least p times as likely as the likeliest (Nguyen et al. 2024).
void keep_min_p(Logits& logits, double p) {
  const float least = *std::max_element(logits.begin(), logits.end()) + static_cast<float>(std::log(p));
  for (float& logit : logits) {
    if (logit < least) logit = kNever;
  }
}

// What may come, and how likely it is.
void process(const Settings& settings, const Ids& tokens, std::size_t written, Logits& logits) {
  if (settings.repetition_penalty != 1) penalize_repetition(logits, tokens, static_cast<float>(settings.repetition_penalty));
  if (settings.no_repeat_ngram_size > 0) forbid_ngrams(logits, tokens, settings.no_repeat_ngram_size);
  const auto ends = [&](std::int64_t token) {
    return std::find(settings.eos_ids.begin(), settings.eos_ids.end(), token) != settings.eos_ids.end();
  };
  for (const std::int64_t bad : settings.bad_ids) {
    if (!ends(bad)) at(logits, bad) = kNever;
  }
  if (written < settings.min_new_tokens) {
    for (const std::int64_t end : settings.eos_ids) at(logits, end) = kNever;
  }
  if (settings.forced_bos_id && tokens.size() == 1) force(logits, *settings.forced_bos_id);
  if (settings.forced_eos_id && written + 1 == settings.max_new_tokens) force(logits, *settings.forced_eos_id);
  if (!settings.do_sample) return;
  for (float& logit : logits) logit /= static_cast<float>(settings.temperature);
  if (settings.top_k > 0) keep_top_k(logits, settings.top_k);
  if (settings.top_p < 1) keep_top_p(logits, settings.top_p);
  if (settings.min_p > 0) keep_min_p(logits, settings.min_p);
}

}  // namespace

Chooser::Chooser(const Settings& settings, std::size_t vocabulary)
    : settings_(settings), random_(settings.seed ? *settings.seed : std::random_device{}()) {
  Ids named = settings.eos_ids;
  named.insert(named.end(), settings.bad_ids.begin(), settings.bad_ids.end());
  for (const auto& one : {settings.decoder_start_id, settings.forced_bos_id, settings.forced_eos_id}) {
    if (one) named.push_back(*one);
  }
  for (const std::int64_t token : named) {
    if (static_cast<std::size_t>(token) >= vocabulary) {
      throw std::runtime_error("the settings name the token " + std::to_string(token) + "; the model has " + std::to_string(vocabulary));
    }
  }
}

std::int64_t Chooser::operator()(const Ids& tokens, std::size_t written, Logits logits) {
  for (const float logit : logits) {
    if (std::isnan(logit)) throw std::runtime_error("the model's output is not a number (NaN)");
  }
  process(settings_, tokens, written, logits);
  if (!settings_.do_sample) return std::max_element(logits.begin(), logits.end()) - logits.begin();
  const std::vector<double> shares = softmax(logits);
  double left = std::uniform_real_distribution<double>()(random_);
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] == 0) continue;
    chosen = i;
    if ((left -= shares[i]) < 0) break;
  }
  return static_cast<std::int64_t>(chosen);
}
