// Sixteen lanes in plain C++: what every instruction set must equal bit for bit.
#pragma once  // its system headers are included before the namespace that it lies in

struct Lanes {
  struct Floats { float v[16]; };
  struct Ints { int32_t v[16]; };

  template <class Operation> static Floats each(Operation operation) {
    Floats r;
    for (int i = 0; i < 16; i++) r.v[i] = operation(i);
    return r;
  }
  static Floats load(const float *p) { Floats r; std::memcpy(r.v, p, sizeof r.v); return r; }
  static void store(float *p, Floats a) { std::memcpy(p, a.v, sizeof a.v); }
  static Floats set(float x) { return each([&](int) { return x; }); }
  static Floats add(Floats a, Floats b) { return each([&](int i) { return a.v[i] + b.v[i]; }); }
  static Floats sub(Floats a, Floats b) { return each([&](int i) { return a.v[i] - b.v[i]; }); }
  static Floats mul(Floats a, Floats b) { return each([&](int i) { return a.v[i] * b.v[i]; }); }
  static Floats div(Floats a, Floats b) { return each([&](int i) { return a.v[i] / b.v[i]; }); }
  static Floats fma(Floats a, Floats b, Floats c) { return each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); }); }
  // As x86 has them: the second operand where one is no number.
  static Floats min(Floats a, Floats b) { return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
  static Floats max(Floats a, Floats b) { return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static Floats round(Floats a) { return each([&](int i) { return std::nearbyintf(a.v[i]); }); }
  static Ints load_ints(const int32_t *p) { Ints r; std::memcpy(r.v, p, sizeof r.v); return r; }
  static Floats to_floats(Ints a) { return each([&](int i) { return static_cast<float>(a.v[i]); }); }
  static Floats from_bytes(const int8_t *p) { return each([&](int i) { return static_cast<float>(p[i]); }); }
  // 2 to the power of whole numbers between -126 and 127.
  static Floats power_of_two(Floats n) {
    return each([&](int i) {
      const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23;
      float r;
      std::memcpy(&r, &bits, 4);
      return r;
    });
  }
  // Whole numbers between 0 and 255.
  static void store_bytes(uint8_t *p, Floats a) {
    for (int i = 0; i < 16; i++) p[i] = static_cast<uint8_t>(static_cast<int32_t>(a.v[i]));
  }
};

struct Products {
  static constexpr int rows = 2, panels = 1;  // of a tile: small, since it is no CPU's first choice
  static constexpr bool short_sums = false;
  using Sums = Lanes::Ints;
  static Sums start(const int32_t *p) { return Lanes::load_ints(p); }
  static void finish(int32_t *p, Sums a) { std::memcpy(p, a.v, sizeof a.v); }
  using Bytes = const uint8_t *;
  using Weights = const int8_t *;
  static Bytes repeat(const uint8_t *p) { return p; }
  static Weights load(const int8_t *p) { return p; }
  static Sums dot(Sums sums, Bytes a, Weights b) {
    for (int i = 0; i < 16; i++)
      for (int j = 0; j < 4; j++) sums.v[i] += static_cast<int32_t>(a[j]) * b[4 * i + j];
    return sums;
  }
};
