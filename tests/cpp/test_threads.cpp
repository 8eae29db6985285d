// Weights are shared, histories are not: engines of one model run on as many threads as there are.
#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <thread>
#include <vector>

#include "ravel/engine.h"
#include "sample_models.h"

using namespace ravel;

namespace {

constexpr int kHops = 24;

std::shared_ptr<const Model> sample() {
  const auto bytes = test::every_op().bytes();
  return Model::parse(bytes.data(), bytes.size());
}

// Everything that a method says to a ramp, as one row after the other.
std::vector<float> answers(const std::shared_ptr<const Model>& model, Method method) {
  Engine engine(model, method, {1, kHops});
  const MethodInfo& info = model->info().method(method);
  const auto rows = [](int channels, int frames) {
    std::vector<std::vector<float>> all(channels, std::vector<float>(static_cast<std::size_t>(kHops) * frames));
    for (auto& row : all)
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i % 17) / 17;
    return all;
  };
  const auto x = rows(info.in_channels, engine.in_frames());
  auto y = rows(info.out_channels, engine.out_frames());
  std::vector<const float*> in;
  std::vector<float*> out;
  for (const auto& row : x) in.push_back(row.data());
  for (auto& row : y) out.push_back(row.data());
  engine.process(in.data(), out.data(), kHops);
  std::vector<float> flat;
  for (const auto& row : y) flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}

}  // namespace

TEST_CASE("threads: engines over shared weights do not disturb each other") {
  const auto model = sample();
  constexpr std::array kMethods = {Method::forward, Method::encode, Method::decode};
  std::vector<std::vector<float>> got(2 * kMethods.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < got.size(); ++i)
    threads.emplace_back([&, i] { got[i] = answers(model, kMethods[i % kMethods.size()]); });
  for (auto& thread : threads) thread.join();
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == answers(model, kMethods[i % kMethods.size()]));
}

TEST_CASE("threads: models load side by side, and the last owner may be any thread") {
  std::array<std::vector<float>, 3> got;
  std::vector<std::thread> threads;
  for (auto& one : got) threads.emplace_back([&one] { one = answers(sample(), Method::forward); });
  for (auto& thread : threads) thread.join();
  CHECK(got[0] == got[1]);
  CHECK(got[0] == got[2]);

  auto model = sample();
  auto engine = std::make_unique<Engine>(model, Method::decode);
  model.reset();
  std::thread([owned = std::move(engine)]() mutable { owned.reset(); }).join();
}
