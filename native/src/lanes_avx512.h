// Sixteen lanes as one register of AVX-512 with VNNI.
#pragma once  // its system headers are included before the namespace that it lies in

struct Lanes {
  using Floats = __m512;
  using Ints = __m512i;

  static Floats load(const float *p) { return _mm512_loadu_ps(p); }
  static void store(float *p, Floats x) { _mm512_storeu_ps(p, x); }
  static Floats set(float x) { return _mm512_set1_ps(x); }
  static Floats add(Floats x, Floats y) { return _mm512_add_ps(x, y); }
  static Floats sub(Floats x, Floats y) { return _mm512_sub_ps(x, y); }
  static Floats mul(Floats x, Floats y) { return _mm512_mul_ps(x, y); }
  static Floats div(Floats x, Floats y) { return _mm512_div_ps(x, y); }
  static Floats fma(Floats x, Floats y, Floats z) { return _mm512_fmadd_ps(x, y, z); }
  static Floats min(Floats x, Floats y) { return _mm512_min_ps(x, y); }
  static Floats max(Floats x, Floats y) { return _mm512_max_ps(x, y); }
  static Floats round(Floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Ints load_ints(const int32_t *p) { return _mm512_loadu_si512(p); }
  static Floats to_floats(Ints x) { return _mm512_cvtepi32_ps(x); }
  static Floats from_bytes(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
  }
  static Floats power_of_two(Floats n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }
  static void store_bytes(uint8_t *p, Floats x) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(x)));
  }
};

struct Products {
  static constexpr int rows = 6, panels = 4;  // of a tile: 24 of the 32 registers are sums
  static constexpr bool short_sums = false;
  using Sums = __m512i;
  static Sums start(const int32_t *p) { return _mm512_loadu_si512(p); }
  static void finish(int32_t *p, Sums x) { _mm512_storeu_si512(p, x); }
  using Bytes = __m512i;    // four, in every lane
  using Weights = __m512i;  // four for each lane
  static Bytes repeat(const uint8_t *p) {
    int32_t four;
    std::memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
  }
  static Weights load(const int8_t *p) { return _mm512_load_si512(p); }
  static Sums dot(Sums sums, Bytes a, Weights b) { return _mm512_dpbusd_epi32(sums, a, b); }
};
