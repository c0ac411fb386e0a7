// BatchNorm and ReLU of feature maps, forward and backward: each reads a map once or twice, and keeps no other.
//
// A map (N, C, H, W) stored channels last is P = N·H·W rows of C values. Where a function takes a `stride`, rows are that
// many values apart, because the map is some of the channels of a wider one. Sums are taken over blocks of rows and then
// over the blocks, so that no result depends on the number of threads. No map overlaps another, except where it is said.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

constexpr int64_t block = 256;  // rows that one thread sums by itself

struct Half {  // bfloat16: the upper half of a float
    uint16_t bits;
};

template <class T>
using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;  // what a value is computed in

inline float load(Half value) {
    const uint32_t bits = uint32_t(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}
inline void store(Half& to, float value) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    to.bits = value != value ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
template <class T> inline T load(T value) { return value; }
template <class T> inline void store(T& to, T value) { to = value; }

// A BatchNorm whose mean and variance are known, with the ReLU after it: max(0, scale·x + shift).
template <class R>
struct Norm {
    const R *weight, *bias, *mean, *variance;
    double epsilon;

    void affine(int64_t channels, R* scale, R* shift) const {
        for (int64_t c = 0; c < channels; ++c) {
            scale[c] = R(weight[c] / std::sqrt(double(variance[c]) + epsilon));
            shift[c] = bias[c] - mean[c] * scale[c];
        }
    }
};

// Two sums over all rows, for every channel; `add` puts a row's share into a block's sums.
template <class R, class Add>
std::vector<double> sums(int64_t rows, int64_t channels, int threads, Add add) {
    const int64_t blocks = (rows + block - 1) / block;
    std::vector<R> partial(blocks * 2 * channels);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < blocks; ++b) {
        R* first = partial.data() + b * 2 * channels;
        for (int64_t row = b * block; row < std::min(rows, (b + 1) * block); ++row)
            add(row, first, first + channels);
    }
    std::vector<double> total(2 * channels);
    for (int64_t b = 0; b < blocks; ++b)
        for (int64_t c = 0; c < 2 * channels; ++c)
            total[c] += partial[b * 2 * channels + c];
    return total;
}

// Mean and biased variance of each channel of x, or of x + added, which goes to `sum`.
template <class T, class R = Real<T>>
void moments(const T* x, const T* added, T* sum, int64_t rows, int64_t channels, int threads, R* mean, R* variance) {
    std::vector<R> about(channels);  // squares about a value of the channel's own do not cancel
    for (int64_t c = 0; c < channels; ++c)
        about[c] = load(x[c]) + (added ? load(added[c]) : R(0));
    const R* centre = about.data();
    const auto total = sums<R>(rows, channels, threads, [=](int64_t row, R* first, R* second) {
        const T* from = x + row * channels;
        if (added) {
            const T* more = added + row * channels;
            T* to = sum + row * channels;
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c)
                store(to[c], load(from[c]) + load(more[c]));
            from = to;
        }
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
            const R value = load(from[c]) - centre[c];
            first[c] += value;
            second[c] += value * value;
        }
    });
    for (int64_t c = 0; c < channels; ++c) {
        const double off = total[c] / rows, square = total[channels + c] / rows;
        mean[c] = R(about[c] + off);
        variance[c] = square - off * off < 0 ? R(0) : R(square - off * off);  // NaN stays NaN
    }
}

// y = max(0, norm(x)).
template <class T, class R = Real<T>>
void forward(const T* x, T* y, int64_t stride, int64_t rows, int64_t channels, int threads, Norm<R> norm) {
    std::vector<R> both(2 * channels);
    norm.affine(channels, both.data(), both.data() + channels);
    const R *scale = both.data(), *shift = scale + channels;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; ++row) {
        const T* from = x + row * channels;
        T* to = y + row * stride;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
            const R value = load(from[c]) * scale[c] + shift[c];
            store(to[c], value < 0 ? R(0) : value);  // NaN stays NaN
        }
    }
}

// The gradients of x, weight and bias, given that of y; `others`, if there are, are added to that of x. If the norm is in
// training, its mean and variance are x's own and pass gradients on, too.
template <class T, class R = Real<T>>
void backward(const T* grad, int64_t stride, const T* x, const T* others, T* result, int64_t rows, int64_t channels,
              int threads, Norm<R> norm, bool training, R* grad_weight, R* grad_bias) {
    std::vector<R> all(4 * channels);
    R *scale = all.data(), *shift = scale + channels, *slope = shift + channels, *constant = slope + channels;
    norm.affine(channels, scale, shift);
    const R* mean = norm.mean;
    const auto total = sums<R>(rows, channels, threads, [=](int64_t row, R* first, R* second) {
        const T *from = x + row * channels, *g = grad + row * stride;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
            const R value = load(from[c]);
            const R through = value * scale[c] + shift[c] > 0 ? load(g[c]) : R(0);
            first[c] += through;
            second[c] += through * (value - mean[c]);
        }
    });
    for (int64_t c = 0; c < channels; ++c) {
        const double precision = 1 / (double(norm.variance[c]) + norm.epsilon);
        grad_bias[c] = R(total[c]);
        grad_weight[c] = R(total[channels + c] * std::sqrt(precision));
        slope[c] = training ? R(-scale[c] * precision * total[channels + c] / rows) : R(0);
        constant[c] = training ? R(-scale[c] * total[c] / rows - slope[c] * double(mean[c])) : R(0);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; ++row) {
        const T *from = x + row * channels, *g = grad + row * stride;
        const T* more = others ? others + row * channels : nullptr;
        T* to = result + row * channels;
        const auto own = [=](int64_t c) {
            const R value = load(from[c]);
            const R through = value * scale[c] + shift[c] > 0 ? load(g[c]) : R(0);
            return through * scale[c] + (value * slope[c] + constant[c]);
        };
        if (more) {
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c)
                store(to[c], load(more[c]) + own(c));
        } else {
#pragma omp simd
            for (int64_t c = 0; c < channels; ++c)
                store(to[c], own(c));
        }
    }
}

}  // namespace

#define FOR_TYPE(name, T)                                                                                              \
    extern "C" void moments_##name(const T* x, const T* added, T* sum, int64_t rows, int64_t channels, int threads,    \
                                   Real<T>* mean, Real<T>* variance) {                                                 \
        moments(x, added, sum, rows, channels, threads, mean, variance);                                               \
    }                                                                                                                  \
    extern "C" void forward_##name(const T* x, T* y, int64_t stride, int64_t rows, int64_t channels, int threads,      \
                                   const Real<T>* weight, const Real<T>* bias, const Real<T>* mean,                    \
                                   const Real<T>* variance, double epsilon) {                                          \
        forward(x, y, stride, rows, channels, threads, Norm<Real<T>>{weight, bias, mean, variance, epsilon});          \
    }                                                                                                                  \
    extern "C" void backward_##name(const T* grad, int64_t stride, const T* x, const T* others, T* result,             \
                                    int64_t rows, int64_t channels, int threads, const Real<T>* weight,                \
                                    const Real<T>* bias, const Real<T>* mean, const Real<T>* variance, double epsilon, \
                                    int training, Real<T>* grad_weight, Real<T>* grad_bias) {                          \
        backward(grad, stride, x, others, result, rows, channels, threads,                                             \
                 Norm<Real<T>>{weight, bias, mean, variance, epsilon}, training != 0, grad_weight, grad_bias);         \
    }

FOR_TYPE(bfloat16, Half)
FOR_TYPE(float32, float)
FOR_TYPE(float64, double)
