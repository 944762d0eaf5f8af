// Sixteen lanes as four registers of NEON, with dot products of bytes.
#pragma once  // its system headers are included before the namespace that it lies in

struct Lanes {
  struct Floats { float32x4_t v[4]; };
  struct Ints { int32x4_t v[4]; };

  template <class Operation> static Floats each(Operation operation) {
    return {{operation(0), operation(1), operation(2), operation(3)}};
  }
  static Floats load(const float *p) { return each([&](int i) { return vld1q_f32(p + 4 * i); }); }
  static void store(float *p, Floats x) {
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]);
  }
  static Floats set(float x) { return each([&](int) { return vdupq_n_f32(x); }); }
  static Floats add(Floats x, Floats y) { return each([&](int i) { return vaddq_f32(x.v[i], y.v[i]); }); }
  static Floats sub(Floats x, Floats y) { return each([&](int i) { return vsubq_f32(x.v[i], y.v[i]); }); }
  static Floats mul(Floats x, Floats y) { return each([&](int i) { return vmulq_f32(x.v[i], y.v[i]); }); }
  static Floats div(Floats x, Floats y) { return each([&](int i) { return vdivq_f32(x.v[i], y.v[i]); }); }
  static Floats fma(Floats x, Floats y, Floats z) {
    return each([&](int i) { return vfmaq_f32(z.v[i], x.v[i], y.v[i]); });
  }
  // As x86 has them: the second operand where one is no number.
  static Floats min(Floats x, Floats y) {
    return each([&](int i) { return vbslq_f32(vcltq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]); });
  }
  static Floats max(Floats x, Floats y) {
    return each([&](int i) { return vbslq_f32(vcgtq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]); });
  }
  static Floats round(Floats x) { return each([&](int i) { return vrndnq_f32(x.v[i]); }); }
  static Ints load_ints(const int32_t *p) {
    return {{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
  }
  static Floats to_floats(Ints x) { return each([&](int i) { return vcvtq_f32_s32(x.v[i]); }); }
  static Floats from_bytes(const int8_t *p) {
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
  }
  static Floats power_of_two(Floats n) {
    return each([&](int i) {
      return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23));
    });
  }
  static void store_bytes(uint8_t *p, Floats x) {
    const auto words = [&](int i) {
      return vcombine_s16(vmovn_s32(vcvtq_s32_f32(x.v[i])), vmovn_s32(vcvtq_s32_f32(x.v[i + 1])));
    };
    vst1q_u8(p, vcombine_u8(vqmovun_s16(words(0)), vqmovun_s16(words(2))));
  }
};

struct Products {
  static constexpr int rows = 5, panels = 1;  // of a tile: twenty of the 32 registers are sums
  static constexpr bool short_sums = false;
  using Sums = Lanes::Ints;
  static Sums start(const int32_t *p) { return Lanes::load_ints(p); }
  static void finish(int32_t *p, Sums x) {
    for (int i = 0; i < 4; i++) vst1q_s32(p + 4 * i, x.v[i]);
  }
  struct Weights { int8x16_t v[4]; };  // four for each lane
  static Weights load(const int8_t *p) { return {{vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32), vld1q_s8(p + 48)}}; }
#if defined(EDGELM_I8MM)
  using Bytes = uint8x16_t;  // four, in every lane
  static Bytes repeat(const uint8_t *p) {
    uint32_t four;
    std::memcpy(&four, p, 4);
    return vreinterpretq_u8_u32(vdupq_n_u32(four));
  }
  static int32x4_t dot(int32x4_t sums, Bytes a, int8x16_t b) { return vusdotq_s32(sums, a, b); }
#else
  using Bytes = int8x16_t;  // four less 128, in every lane
  static Bytes repeat(const uint8_t *p) {
    uint32_t four;
    std::memcpy(&four, p, 4);
    return vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080u));
  }
  static int32x4_t dot(int32x4_t sums, Bytes a, int8x16_t b) { return vdotq_s32(sums, a, b); }
#endif
  static Sums dot(Sums sums, Bytes a, Weights b) {
    return {{dot(sums.v[0], a, b.v[0]), dot(sums.v[1], a, b.v[1]), dot(sums.v[2], a, b.v[2]), dot(sums.v[3], a, b.v[3])}};
  }
};
