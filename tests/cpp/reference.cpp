// A graph evaluated plainly: no histories, no blocks, no packing.
#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace ravel::test {
namespace {

using graph::Node;

std::size_t index(int i) { return static_cast<std::size_t>(i); }

int frames_of(const Signal& x) { return static_cast<int>(x.front().size()); }

Signal zeros(int channels, int frames) { return Signal(index(channels), std::vector<double>(index(frames))); }

double before(const std::vector<double>& row, int n) { return n < 0 ? 0.0 : row[index(n)]; }

template <typename F>
Signal mapped(const Signal& x, F f) {
  Signal y = x;
  for (std::size_t c = 0; c < y.size(); ++c) {
    for (double& v : y[c]) v = f(c, v);
  }
  return y;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::uint32_t mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6BU;
  x = (x ^ (x >> 13)) * 0xC2B2AE35U;
  return x ^ (x >> 16);
}

// The hash of python/model/noise.py for seed 0 and stream 0.
double white(int node, int channel, std::int64_t frame) {
  std::uint32_t key = mix(static_cast<std::uint32_t>(node) * 0x9E3779B9U);
  key = mix(key);
  key = mix(key + 0x9E3779B9U + static_cast<std::uint32_t>(channel));
  key = mix(key ^ static_cast<std::uint32_t>(static_cast<std::uint64_t>(frame) >> 32));
  const std::uint32_t bits = mix((key + 0x7F4A7C15U) ^ static_cast<std::uint32_t>(frame));
  return (bits >> 8) * 0x1p-23 - 1;
}

Signal layer(const Node&, const graph::Serial& serial, Signal x) {
  for (const Node& child : serial.layers) x = reference(child, x);
  return x;
}

Signal late(const Signal& x, int frames) {
  Signal y = x;
  for (std::size_t c = 0; c < y.size(); ++c) {
    for (int n = 0; n < frames_of(x); ++n) y[c][index(n)] = before(x[c], n - frames);
  }
  return y;
}

Signal layer(const Node&, const graph::Combine& combine, const Signal& x) {
  Signal total;
  for (std::size_t i = 0; i < combine.branches.size(); ++i) {
    const Signal y = late(reference(combine.branches[i], x), combine.waits[i]);
    if (i == 0) {
      total = y;
      continue;
    }
    for (std::size_t c = 0; c < total.size(); ++c) {
      for (std::size_t n = 0; n < total[c].size(); ++n) {
        total[c][n] = combine.product ? total[c][n] * y[c][n] : total[c][n] + y[c][n];
      }
    }
  }
  return total;
}

Signal layer(const Node& node, const graph::Conv1d& conv, const Signal& x) {
  const int inputs = node.in_channels / conv.groups, outputs = node.out_channels / conv.groups;
  const std::vector<float> weight = conv.weight.values();
  Signal y = zeros(node.out_channels, frames_of(x) / conv.stride);
  for (int o = 0; o < node.out_channels; ++o) {
    for (int n = 0; n < frames_of(y); ++n) {
      double sum = conv.bias.empty() ? 0.0 : conv.bias[index(o)];
      for (int k = 0; k < conv.kernel; ++k) {
        const int at = n * conv.stride - conv.history() + k * conv.dilation;
        for (int i = 0; i < inputs; ++i) {
          sum += weight[index((o * conv.kernel + k) * inputs + i)] * before(x[index(o / outputs * inputs + i)], at);
        }
      }
      y[index(o)][index(n)] = sum;
    }
  }
  return y;
}

Signal layer(const Node& node, const graph::Upsample& up, const Signal& x) {
  const std::vector<float> weight = up.weight.values();
  Signal y = zeros(node.out_channels, frames_of(x) * up.ratio);
  for (int row = 0; row < up.ratio * node.out_channels; ++row) {
    for (int n = 0; n < frames_of(x); ++n) {
      double sum = up.bias.empty() ? 0.0 : up.bias[index(row)];
      for (int k = 0; k < up.taps; ++k) {
        for (int i = 0; i < node.in_channels; ++i) {
          sum += weight[index((row * up.taps + k) * node.in_channels + i)] * before(x[index(i)], n - up.taps + 1 + k);
        }
      }
      y[index(row % node.out_channels)][index(n * up.ratio + row / node.out_channels)] = sum;
    }
  }
  return y;
}

Signal layer(const Node&, const graph::Delay& delay, const Signal& x) { return late(x, delay.frames); }

Signal layer(const Node&, const graph::LeakyReLU& leaky, const Signal& x) {
  return mapped(x, [&](std::size_t, double v) { return v < 0 ? leaky.slope * v : v; });
}

Signal layer(const Node&, const graph::Snake& snake, const Signal& x) {
  return mapped(x, [&](std::size_t c, double v) {
    const double s = std::sin(snake.alpha[c] * v);
    return v + s * s / (snake.alpha[c] + 1e-9);
  });
}

Signal layer(const Node&, const graph::Tanh&, const Signal& x) {
  return mapped(x, [](std::size_t, double v) { return std::tanh(v); });
}

Signal layer(const Node&, const graph::Amplitude& amplitude, const Signal& x) {
  return mapped(x, [&](std::size_t, double v) { return 2 * std::pow(sigmoid(v + amplitude.offset), 2.3) + 1e-7; });
}

Signal layer(const Node&, const graph::Sphere&, Signal x) {
  for (std::size_t n = 0; n < index(frames_of(x)); ++n) {
    double square = 0;
    for (const auto& row : x) square += row[n] * row[n];
    for (auto& row : x) row[n] *= std::sqrt(static_cast<double>(x.size()) / square);
  }
  return x;
}

Signal layer(const Node& node, const graph::GatedHalf&, const Signal& x) {
  const auto half = index(node.out_channels);
  Signal y(x.begin(), x.begin() + node.out_channels);
  for (std::size_t c = 0; c < half; ++c) {
    for (std::size_t n = 0; n < y[c].size(); ++n) y[c][n] *= sigmoid(x[half + c][n]);
  }
  return y;
}

Signal layer(const Node& node, const graph::GatedTanh&, const Signal& x) {
  const auto half = index(node.out_channels);
  Signal y(x.begin(), x.begin() + node.out_channels);
  for (std::size_t c = 0; c < half; ++c) {
    for (std::size_t n = 0; n < y[c].size(); ++n) y[c][n] = std::tanh(x[c][n]) * sigmoid(x[half + c][n]);
  }
  return y;
}

Signal layer(const Node& node, const graph::Part& part, const Signal& x) {
  return {x.begin() + part.first, x.begin() + part.first + node.out_channels};
}

Signal layer(const Node&, const graph::Repeat& repeat, const Signal& x) {
  Signal y;
  for (const auto& row : x) y.insert(y.end(), index(repeat.times), row);
  return y;
}

Signal layer(const Node& node, const graph::FilteredNoise& noise, const Signal& x) {
  const int taps = 2 * (noise.noise_bands - 1);
  Signal y = zeros(node.out_channels, frames_of(x) * noise.ratio);
  for (int b = 0; b < noise.bands; ++b) {
    for (int t = 0; t < frames_of(x); ++t) {
      for (int k = 0; k < taps; ++k) {
        double gain = 0;
        for (int m = 0; m < noise.noise_bands; ++m) {
          gain += x[index(b * noise.noise_bands + m)][index(t)] * noise.response[index(m * taps + k)];
        }
        for (int r = 0; r < noise.ratio; ++r) {
          const int n = t * noise.ratio + r;
          y[index(b)][index(n)] += gain * white(noise.node, b, n + 1 - taps + k);
        }
      }
    }
  }
  return y;
}

Signal layer(const Node&, const graph::Variational& latent, const Signal& x) {
  return {x.begin(), x.begin() + latent.kept};
}

Signal layer(const Node&, const graph::Fill& fill, Signal x) {
  x.resize(index(fill.size), std::vector<double>(x.front().size()));
  return x;
}

Signal layer(const Node&, const graph::Condition& condition, const Signal& x) {
  return mapped(x, [&](std::size_t c, double v) { return v + condition.table[c]; });
}

// A code's vector: values of a codebook (quantisers, codes, size).
std::vector<double> vector(const std::vector<float>& codebook, int codes, int quantiser, int code, std::size_t size) {
  const auto* first = codebook.data() + (index(quantiser) * index(codes) + index(code)) * size;
  return {first, first + size};
}

Signal layer(const Node&, const graph::Quantise& quantise, const Signal& x) {
  Signal y = zeros(quantise.quantisers, frames_of(x));
  for (std::size_t n = 0; n < index(frames_of(x)); ++n) {
    std::vector<double> rest;
    for (const auto& row : x) rest.push_back(row[n]);
    for (int i = 0; i < quantise.quantisers; ++i) {
      double nearest = HUGE_VAL;
      std::vector<double> left;
      for (int code = 0; code < quantise.codes; ++code) {
        const auto c = vector(quantise.codebook, quantise.codes, i, code, x.size());
        double square = 0;
        for (std::size_t d = 0; d < c.size(); ++d) square += (rest[d] - c[d]) * (rest[d] - c[d]);
        if (square >= nearest) continue;
        nearest = square;
        y[index(i)][n] = code;
        left = rest;
        for (std::size_t d = 0; d < c.size(); ++d) left[d] -= c[d];
      }
      rest = left;
    }
  }
  return y;
}

Signal layer(const Node& node, const graph::Codebook& codebook, const Signal& x) {
  Signal y = zeros(node.out_channels, frames_of(x));
  for (std::size_t n = 0; n < index(frames_of(x)); ++n) {
    for (std::size_t d = 0; d < y.size(); ++d) y[d][n] = codebook.offset[d];
    for (int i = 0; i < codebook.quantisers; ++i) {
      const int code = static_cast<int>(x[index(i)][n]);
      if (code < 0) continue;
      const auto c = vector(codebook.codebook, codebook.codes, i, code, y.size());
      for (std::size_t d = 0; d < y.size(); ++d) y[d][n] += c[d];
    }
  }
  return y;
}

}  // namespace

Signal reference(const Node& node, const Signal& x) {
  return std::visit([&](const auto& op) { return layer(node, op, x); }, node.op);
}

Signal alone(const graph::Prior& prior, const Signal& frames, int hops, double amount, double temperature) {
  const int count = prior.quantisers, codes = prior.codes;
  const auto share = [&](int channel, int n) { return (white(prior.noise_node, channel, n) + 1) / 2; };
  Signal rows = zeros(count, 1), given = zeros(count, hops);  // the first row comes before any sound
  for (auto& row : rows) row[0] = -1;
  for (int n = 0; n < hops; ++n) {
    const Signal logits = reference(prior.network, rows);
    for (int q = 0; q < count; ++q) {
      const int frame = n - q;
      const bool heard = frame >= 0 && index(q) < frames.size() && share(count, frame) >= amount;
      double number = heard ? frames[index(q)][index(frame)] : -1;
      if (number < 0) {
        std::vector<double> mass;
        for (int k = 0; k < codes; ++k) mass.push_back(logits[index(q * codes + k)].back());
        const auto top = std::max_element(mass.begin(), mass.end());
        number = static_cast<double>(top - mass.begin());
        if (temperature > 0) {
          double total = 0;
          const double most = *top;
          for (double& m : mass) m = total += std::exp((m - most) / temperature);
          const double mark = share(q, n) * total;
          number =
              static_cast<double>(std::count_if(mass.begin(), mass.end() - 1, [&](double m) { return m <= mark; }));
        }
      }
      rows[index(q)].push_back(number);
    }
    for (int q = 0; q < count; ++q) given[index(q)][index(n)] = before(rows[index(q)], n + 1 - (count - 1 - q));
    for (int q = 0; q < count; ++q) {
      if (n + 1 - (count - 1 - q) <= 0) given[index(q)][index(n)] = -1;
    }
  }
  return given;
}

Signal signal(const std::vector<float>& values, int channels) {
  const std::size_t frames = values.size() / index(channels);
  Signal x;
  for (auto at = values.begin(); at != values.end(); at += static_cast<std::ptrdiff_t>(frames)) {
    x.emplace_back(at, at + static_cast<std::ptrdiff_t>(frames));
  }
  return x;
}

std::vector<float> flat(const Signal& x) {
  std::vector<float> values;
  for (const auto& row : x) {
    for (const double v : row) values.push_back(static_cast<float>(v));
  }
  return values;
}

}  // namespace ravel::test
