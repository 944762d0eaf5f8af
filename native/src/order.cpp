#include "order.h"

#include <immintrin.h>

namespace {

constexpr size_t tries = 32;  // of partners for a group

// For each of the 32 pairs of a group what its weights above 0 come to, and what those below.
struct Reach {
  __m256i above, below;
};

__m256i pairs(__m256i left, __m256i right) {
  const __m256i ones = _mm256_set1_epi8(1);
  return _mm256_packus_epi16(_mm256_maddubs_epi16(left, ones), _mm256_maddubs_epi16(right, ones));
}

Reach reach(const int8_t *group) {
  const __m256i left = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(group)), none = _mm256_setzero_si256();
  const __m256i right = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(group + 32));
  const auto below = [&](__m256i x) { return _mm256_and_si256(_mm256_abs_epi8(x), _mm256_cmpgt_epi8(none, x)); };
  return {pairs(_mm256_max_epi8(left, none), _mm256_max_epi8(right, none)), pairs(below(left), below(right))};
}

bool fits(Reach x) {
  const __m256i most = _mm256_set1_epi8(static_cast<char>(128));
  const __m256i beyond = _mm256_or_si256(_mm256_subs_epu8(x.above, most), _mm256_subs_epu8(x.below, most));
  return _mm256_testz_si256(beyond, beyond);
}

Reach sum(Reach x, Reach y) { return {_mm256_adds_epu8(x.above, y.above), _mm256_adds_epu8(x.below, y.below)}; }

// At most 8192 of a group that fits: 32 sums of at most 128, above 0 and below.
size_t weight(Reach x) {
  const __m256i none = _mm256_setzero_si256();
  const __m256i sums = _mm256_add_epi64(_mm256_sad_epu8(x.above, none), _mm256_sad_epu8(x.below, none));
  const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return static_cast<size_t>(_mm_cvtsi128_si64(half) + _mm_extract_epi64(half, 1));
}

struct Taken {
  size_t count;
  uint16_t groups[2];
};

// Groups that fit alone, the lightest first, roughly; each with its neighbours among those that have no partner yet.
class Open {
 public:
  explicit Open(const std::vector<Reach> &reaches, const std::vector<uint16_t> &groups) {
    constexpr size_t heaviest = 32 * 128 * 2, step = 32;
    std::vector<uint16_t> begin(heaviest / step + 2, 0);
    for (uint16_t g : groups) begin[weight(reaches[g]) / step + 1]++;
    for (size_t i = 1; i < begin.size(); i++) begin[i] = static_cast<uint16_t>(begin[i] + begin[i - 1]);
    groups_.resize(groups.size());
    reaches_.resize(groups.size());
    for (uint16_t g : groups) {
      const size_t place = begin[weight(reaches[g]) / step]++;
      groups_[place] = g, reaches_[place] = reaches[g];
    }
    before_.resize(groups.size() + 1);
    for (size_t i = 1; i < before_.size(); i++) before_[i] = static_cast<uint16_t>(i - 1);  // places are counted from 1
    last_ = static_cast<uint16_t>(groups.size());
  }

  bool empty() const { return last_ == 0; }

  // The heaviest and the heaviest of its next `tries` that fits; or the heaviest alone.
  Taken take() {
    const uint16_t first = last_;
    last_ = before_[first];
    uint16_t after = 0, at = last_;
    for (size_t i = 0; i < tries && at != 0; i++, after = at, at = before_[at])
      if (fits(sum(reaches_[first - 1u], reaches_[at - 1u]))) {
        (after ? before_[after] : last_) = before_[at];
        return {2, {groups_[first - 1u], groups_[at - 1u]}};
      }
    return {1, {groups_[first - 1u], 0}};
  }

 private:
  std::vector<uint16_t> groups_, before_;
  std::vector<Reach> reaches_;
  uint16_t last_;
};

}  // namespace

// The heaviest group takes the heaviest that fits, which leaves the light ones to others.
Order find_order(const int8_t *weights, size_t count, std::vector<uint16_t> &groups) {
  std::vector<Reach> reaches(count);
  std::vector<uint16_t> fitting, single, wide;
  for (size_t g = 0; g < count; g++) {
    reaches[g] = reach(weights + g * 64);
    (fits(reaches[g]) ? fitting : wide).push_back(static_cast<uint16_t>(g));
  }
  Order order;
  for (Open open(reaches, fitting); !open.empty();) {
    const Taken taken = open.take();
    if (taken.count == 2) order.paired += 2;
    std::vector<uint16_t> &to = taken.count == 2 ? groups : single;
    to.insert(to.end(), taken.groups, taken.groups + taken.count);
  }
  groups.insert(groups.end(), single.begin(), single.end());
  groups.insert(groups.end(), wide.begin(), wide.end());
  order.fitting = order.paired + single.size();
  return order;
}
