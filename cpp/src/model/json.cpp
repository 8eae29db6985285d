// The only translation unit that compiles nlohmann-json, of which the SAX parser is used.
#include "json.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "ravel/error.h"
#include "text.h"

namespace ravel::json {
namespace {

constexpr int kMaxDepth = 64;               // the presets need 10
constexpr std::size_t kMaxValues = 200000;  // 100 times those of v2; under 30 MB

// Builds values from the parser's events; any `false` ends the parse with `problem` set.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Value root;
  std::string problem;
  std::size_t at = 0;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    return value > most ? add(static_cast<double>(value)) : add(static_cast<std::int64_t>(value));
  }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(nlohmann::json::binary_t&) override { return refuse("not JSON"); }

  bool start_object(std::size_t) override { return open(std::vector<Member>{}); }
  bool key(std::string& name) override {
    std::get<std::vector<Member>>(open_.back()->data).push_back({std::move(name), {}});
    return true;
  }
  bool end_object() override {
    auto& members = std::get<std::vector<Member>>(open_.back()->data);
    std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.key < b.key; });
    const auto same = [](const Member& a, const Member& b) { return a.key == b.key; };
    const auto twice = std::adjacent_find(members.begin(), members.end(), same);
    if (twice != members.end()) return refuse("the key " + in_quotes(twice->key) + " stands twice in one object");
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override { return open(std::vector<Value>{}); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    at = position;
    return refuse("not JSON");
  }

 private:
  bool refuse(std::string why) {
    problem = std::move(why);
    return false;
  }

  // The pointers in `open_` stay valid: a container grows only while none of its children is open.
  Value* place(Value value) {
    if (++count_ > kMaxValues) {
      refuse("more than " + std::to_string(kMaxValues) + " values");
      return nullptr;
    }
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    if (auto* values = std::get_if<std::vector<Value>>(&open_.back()->data)) {
      values->push_back(std::move(value));
      return &values->back();
    }
    Member& member = std::get<std::vector<Member>>(open_.back()->data).back();
    member.value = std::move(value);
    return &member.value;
  }

  template <typename T>
  bool add(T value) {
    return place(Value{std::move(value)}) != nullptr;
  }

  template <typename T>
  bool open(T empty) {
    if (open_.size() == kMaxDepth) return refuse("nested deeper than " + std::to_string(kMaxDepth));
    Value* value = place(Value{std::move(empty)});
    if (value) open_.push_back(value);
    return value != nullptr;
  }

  std::vector<Value*> open_;
  std::size_t count_ = 0;
};

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  const auto* members = object();
  if (!members) return nullptr;
  const auto before = [](const Member& member, std::string_view wanted) { return member.key < wanted; };
  const auto found = std::lower_bound(members->begin(), members->end(), key, before);
  return found != members->end() && found->key == key ? &found->value : nullptr;
}

Value parse(std::string_view text, const std::string& what) {
  Builder builder;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    const std::string where = builder.at ? " from byte " + std::to_string(builder.at) + " on" : "";
    throw Error(what + ": " + builder.problem + where);
  }
  return std::move(builder.root);
}

}  // namespace ravel::json
