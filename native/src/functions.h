// Elementwise functions on sixteen lanes: the same operations in the same order for every instruction set. Included once
// for each of them, after its `Lanes`.
#pragma once

using Floats = Lanes::Floats;

// Horner's scheme, highest power first.
template <int count> static inline Floats polynomial(Floats x, const float (&terms)[count]) {
  Floats sum = Lanes::set(terms[0]);
  for (int i = 1; i < count; i++) sum = Lanes::fma(sum, x, Lanes::set(terms[i]));
  return sum;
}

static inline Floats clamp(Floats x, float low, float high) {
  return Lanes::min(Lanes::max(x, Lanes::set(low)), Lanes::set(high));
}

// e^x for x <= 0 (softmax takes no other), to about 1e-7 of itself; below -87 it is e^-87, which is 1.6e-38. The terms
// are Cephes' expf.
static inline Floats exponential(Floats x) {
  static const float terms[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  x = clamp(x, -87.0f, 0.0f);
  const Floats n = Lanes::round(Lanes::mul(x, Lanes::set(1.44269504088896341f)));
  Floats rest = Lanes::fma(n, Lanes::set(-0.693359375f), x);
  rest = Lanes::fma(n, Lanes::set(2.12194440e-4f), rest);
  const Floats tail = Lanes::add(rest, Lanes::set(1.0f));
  const Floats sum = Lanes::fma(polynomial(rest, terms), Lanes::mul(rest, rest), tail);
  return Lanes::mul(sum, Lanes::power_of_two(n));
}

// The error function as a quotient of polynomials on [-4, 4], beyond which it is 1 in 32 bits; Eigen's terms.
static inline Floats error_function(Floats x) {
  static const float above[] = {-2.72614225801306e-10f, 2.77068142495902e-08f,  -2.10102402082508e-06f,
                                -5.69250639462346e-05f, -7.34990630326855e-04f, -2.95459980854025e-03f,
                                -1.60960333262415e-02f};
  static const float below[] = {-1.45660718464996e-05f, -2.13374052778905e-04f, -1.68282697438203e-03f,
                                -7.37332916720468e-03f, -1.42647390514189e-02f};
  x = clamp(x, -4.0f, 4.0f);
  const Floats square = Lanes::mul(x, x);
  return Lanes::div(Lanes::mul(x, polynomial(square, above)), polynomial(square, below));
}

// The exact form (of Hendrycks and Gimpel, arXiv:1606.08415), not the approximation by tanh.
static inline Floats gelu(Floats x) {
  const Floats half = Lanes::mul(x, Lanes::set(0.5f));
  return Lanes::fma(half, error_function(Lanes::mul(x, Lanes::set(0.70710678118654752f))), half);
}

// A quotient of polynomials on [-9, 9], beyond which it is 1 in 32 bits; Eigen's terms.
static inline Floats tangent(Floats x) {
  static const float above[] = {-2.76076847742355e-16f, 2.00018790482477e-13f, -8.60467152213735e-11f,
                                5.12229709037114e-08f,  1.48572235717979e-05f, 6.37261928875436e-04f,
                                4.89352455891786e-03f};
  static const float below[] = {1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f,
                                4.89352518554385e-03f};
  x = clamp(x, -9.0f, 9.0f);
  const Floats square = Lanes::mul(x, x);
  return Lanes::div(Lanes::mul(x, polynomial(square, above)), polynomial(square, below));
}

// x + x^3 by tanh: what transformers calls gelu_new, and onnxruntime FastGelu.
static inline Floats fast_gelu(Floats x) {
  const Floats half = Lanes::mul(x, Lanes::set(0.5f));
  const Floats inner = Lanes::fma(Lanes::mul(Lanes::mul(x, x), Lanes::set(0.044715f)), x, x);
  return Lanes::fma(half, tangent(Lanes::mul(inner, Lanes::set(0.79788456080286536f))), half);
}

static inline Floats activate(Activation kind, Floats x) {
  switch (kind) {
    case Activation::gelu: return gelu(x);
    case Activation::fast_gelu: return fast_gelu(x);
    case Activation::relu: return Lanes::max(x, Lanes::set(0.0f));
    case Activation::tanh: return tangent(x);
    case Activation::none: break;
  }
  return x;
}

template <Activation kind, int count> static inline void activate_each(Floats (&x)[count]) {
  for (Floats &block : x) block = activate(kind, block);
}

// The kind is asked once for all blocks.
template <int count> static inline void activate_all(Activation kind, Floats (&x)[count]) {
  switch (kind) {
    case Activation::gelu: return activate_each<Activation::gelu>(x);
    case Activation::fast_gelu: return activate_each<Activation::fast_gelu>(x);
    case Activation::relu: return activate_each<Activation::relu>(x);
    case Activation::tanh: return activate_each<Activation::tanh>(x);
    case Activation::none: break;
  }
}

// The sum of all lanes, by halves: always the same tree.
static inline float sum_lanes(Floats x) {
  float v[16];
  Lanes::store(v, x);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) v[i] += v[i + half];
  return v[0];
}

static inline float largest_lane(Floats x) {
  float v[16];
  Lanes::store(v, x);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
  return v[0];
}
