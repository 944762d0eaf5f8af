// Sixteen lanes as two registers of AVX2 with FMA.
#pragma once  // its system headers are included before the namespace that it lies in

struct Lanes {
  struct Floats { __m256 a, b; };
  struct Ints { __m256i a, b; };

  static Floats load(const float *p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float *p, Floats x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
  static Floats set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static Floats add(Floats x, Floats y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static Floats sub(Floats x, Floats y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static Floats mul(Floats x, Floats y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static Floats div(Floats x, Floats y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static Floats fma(Floats x, Floats y, Floats z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static Floats min(Floats x, Floats y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static Floats max(Floats x, Floats y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static Floats round(Floats x) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, nearest), _mm256_round_ps(x.b, nearest)};
  }
  static Ints load_ints(const int32_t *p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + 8))};
  }
  static Floats to_floats(Ints x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static Floats from_bytes(const int8_t *p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
  }
  static __m256 power(__m256 n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static Floats power_of_two(Floats n) { return {power(n.a), power(n.b)}; }
  static void store_bytes(uint8_t *p, Floats x) {
    const __m256i words = _mm256_permute4x64_epi64(
        _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p),
                     _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
};

struct Products {
#if defined(EDGELM_AVX_VNNI)
  static constexpr int rows = 6, panels = 1;  // of a tile: twelve of the sixteen registers are sums
  static constexpr bool short_sums = false;
#else
  static constexpr int rows = 4, panels = 1;  // of a tile: eight sums, since each product needs registers of its own
  static constexpr bool short_sums = true;
#endif
  using Sums = Lanes::Ints;
  static Sums start(const int32_t *p) { return Lanes::load_ints(p); }
  static void finish(int32_t *p, Sums x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p + 8), x.b);
  }
  using Bytes = __m256i;         // four, in every lane
  using Weights = Lanes::Ints;  // four for each lane
  static Bytes repeat(const uint8_t *p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
  }
  static Weights load(const int8_t *p) {
    const __m256i *weights = reinterpret_cast<const __m256i *>(p);
    return {_mm256_load_si256(weights), _mm256_load_si256(weights + 1)};
  }
#if defined(EDGELM_AVX_VNNI)
  static Sums dot(Sums sums, Bytes a, Weights b) {
    return {_mm256_dpbusd_avx_epi32(sums.a, a, b.a), _mm256_dpbusd_avx_epi32(sums.b, a, b.b)};
  }
#else
  // maddubs adds up pairs of products in 16 bits and cuts off what does not fit: an `Order` says where all do.
  static __m256i widen(__m256i sums, __m256i pairs) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static Sums dot(Sums sums, Bytes a, Weights b) {
    return {widen(sums.a, _mm256_maddubs_epi16(a, b.a)), widen(sums.b, _mm256_maddubs_epi16(a, b.b))};
  }
  // Two groups that fit into one sum.
  static Sums dot(Sums sums, Bytes a, Weights b, Bytes c, Weights d) {
    return {widen(sums.a, _mm256_add_epi16(_mm256_maddubs_epi16(a, b.a), _mm256_maddubs_epi16(c, d.a))),
            widen(sums.b, _mm256_add_epi16(_mm256_maddubs_epi16(a, b.b), _mm256_maddubs_epi16(c, d.b)))};
  }
  static void expect(const int8_t *p) { _mm_prefetch(reinterpret_cast<const char *>(p), _MM_HINT_T0); }
  // Any group: each byte is taken as its lowest seven bits and its highest, with either of which all pairs fit.
  static Sums dot_parts(Sums sums, Bytes a, Weights b) {
    const __m256i high = _mm256_set1_epi8(static_cast<char>(0x80));
    return dot(dot(sums, _mm256_andnot_si256(high, a), b), _mm256_and_si256(high, a), b);
  }
#endif
};
