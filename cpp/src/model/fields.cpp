// Checked access to the fields of a JSON object.
#include "fields.h"

#include <algorithm>
#include <cmath>

#include "ravel/error.h"
#include "text.h"

namespace ravel {
namespace {

std::string shown(const json::Value& value) {
  if (const auto* text = value.as<std::string>()) return in_quotes(*text);
  if (const auto* whole = value.as<std::int64_t>()) return std::to_string(*whole);
  if (const auto* real = value.as<double>()) return std::to_string(*real);
  if (const auto* truth = value.as<bool>()) return *truth ? "true" : "false";
  if (value.array()) return "an array";
  return value.object() ? "an object" : "null";
}

[[noreturn]] void refuse(const std::string& what, const std::string& expected, const json::Value& got) {
  throw Error(what + ": expects " + expected + ", got " + shown(got));
}

}  // namespace

int integer(const json::Value& value, const std::string& what, int low, int high) {
  const auto* whole = value.as<std::int64_t>();
  if (!whole || *whole < low || *whole > high) {
    refuse(what, "a whole number from " + std::to_string(low) + " to " + std::to_string(high), value);
  }
  return static_cast<int>(*whole);
}

float number(const json::Value& value, const std::string& what) {
  const auto* whole = value.as<std::int64_t>();
  const auto* real = value.as<double>();
  if (!whole && !real) refuse(what, "a number", value);
  const auto result = static_cast<float>(whole ? static_cast<double>(*whole) : *real);
  if (!std::isfinite(result)) refuse(what, "a number that float32 holds", value);
  return result;
}

Fields::Fields(const json::Value& value, std::string where) : value_(value), where_(std::move(where)) {
  if (!value.object()) ravel::refuse(where_, "an object", value);
}

void Fields::refuse(const std::string& why) const { throw Error(where_ + ": " + why); }

bool Fields::has(std::string_view key) const { return value_.find(key) != nullptr; }

const json::Value& Fields::at(std::string_view key) {
  const json::Value* value = value_.find(key);
  if (!value) refuse("lacks '" + std::string(key) + "'");
  asked_.push_back(key);
  return *value;
}

int Fields::integer(std::string_view key, int low, int high) {
  return ravel::integer(at(key), where_ + ": " + std::string(key), low, high);
}

float Fields::number(std::string_view key) { return ravel::number(at(key), where_ + ": " + std::string(key)); }

const std::string& Fields::text(std::string_view key) {
  const json::Value& value = at(key);
  const auto* text = value.as<std::string>();
  if (!text) ravel::refuse(where_ + ": " + std::string(key), "a string", value);
  return *text;
}

const std::vector<json::Value>& Fields::array(std::string_view key) {
  const json::Value& value = at(key);
  if (!value.array()) ravel::refuse(where_ + ": " + std::string(key), "an array", value);
  return *value.array();
}

Fields Fields::object(std::string_view key) { return {at(key), where_ + ": " + std::string(key)}; }

void Fields::finish() const {
  for (const json::Member& member : *value_.object()) {
    if (std::find(asked_.begin(), asked_.end(), member.key) == asked_.end()) {
      refuse("has an unknown field " + in_quotes(member.key));
    }
  }
}

}  // namespace ravel
