// Scores of disentangled attention (He et al., arXiv:2006.03654): content to content, content to position and position
// to content. Tables have their distances side by side, so that what sixteen keys in a row take lies in a row too: nothing
// is gathered, and nothing is computed for distances that do not occur. Included by kernels.inl.

// Four rows with `blocks` times sixteen keys; `asked` and `asking` begin at the distance of the first key to each row.
template <int blocks>
inline void score_positions(const Attention &a, const float *const (&query)[4], const float *const (&asked)[4],
                            const float *const (&asking)[4], const float *keys, size_t at, float *scores) {
  Floats sums[4][blocks];
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) sums[r][b] = Lanes::set(0.0f);
  for (size_t d = 0; d < a.size; d++) {
    const size_t line = d * a.table_stride + at;
#pragma GCC unroll 4
    for (int b = 0; b < blocks; b++) {
      const size_t place = 16 * static_cast<size_t>(b);
      const Floats key = Lanes::load(keys + d * a.key_tokens + at + place);
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++) {
        sums[r][b] = Lanes::fma(Lanes::set(query[r][d]), Lanes::add(key, Lanes::load(asked[r] + line + place)), sums[r][b]);
        sums[r][b] = Lanes::fma(key, Lanes::load(asking[r] + line + place), sums[r][b]);
      }
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < blocks; b++) {
    const size_t place = at + 16 * static_cast<size_t>(b);
    const Floats added = a.mask ? Lanes::load(a.mask + place) : Lanes::set(0.0f);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
      Lanes::store(scores + static_cast<size_t>(r) * a.key_tokens + place,
                   Lanes::add(Lanes::mul(sums[r][b], Lanes::set(a.scale)), added));
  }
}

// Four rows of scores at once: `rows` of them are results, the others repeat the last.
inline void score_disentangled(const Attention &a, size_t head, size_t first, int rows, float *scores) {
  const float *query[4], *asked[4], *asking[4];
  for (int r = 0; r < 4; r++) {
    const size_t row = first + static_cast<size_t>(r < rows ? r : rows - 1);
    const size_t begin = head * a.size * a.table_stride + a.reach - 1 - (row - a.first_row);
    query[r] = a.queries + row * a.query_stride + head * a.size;
    asked[r] = a.asked + begin, asking[r] = a.asking + begin;
  }
  const float *keys = a.keys + head * a.size * a.key_tokens;
  size_t at = 0;
  for (; at + 16 * attention_blocks <= a.key_tokens; at += 16 * attention_blocks)
    score_positions<attention_blocks>(a, query, asked, asking, keys, at, scores);
  if constexpr (attention_blocks > 1)
    for (; at < a.key_tokens; at += 16) score_positions<1>(a, query, asked, asking, keys, at, scores);
}
