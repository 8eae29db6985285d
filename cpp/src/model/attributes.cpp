// What a patch can say is a number or a word; what a script takes has a type.
#include "attributes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include "text.h"

namespace ravel {
namespace {

constexpr std::array kTypes = {"bool", "int", "float", "string", "tensor"};

std::string text_of(const Value& value) {
  if (const bool* on = std::get_if<bool>(&value)) return *on ? "true" : "false";
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* text = std::get_if<std::string>(&value)) return printable(*text);
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "%g", std::get<double>(value));
  return digits.data();
}

std::optional<double> number_in(const Value& value) {
  if (const bool* on = std::get_if<bool>(&value)) return *on ? 1 : 0;
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* number = std::get_if<double>(&value); number && std::isfinite(*number)) return *number;
  return std::nullopt;
}

std::optional<Value> fitted(ValueType type, const Value& value) {
  constexpr double kMostExact = 9007199254740992;  // 2^53
  if (type == ValueType::text) return std::holds_alternative<std::string>(value) ? std::optional(value) : std::nullopt;
  if (type == ValueType::integer && std::holds_alternative<std::int64_t>(value)) return value;
  const auto number = number_in(value);
  if (!number || type == ValueType::other) return std::nullopt;
  if (type == ValueType::number) return *number;
  if (type == ValueType::boolean)
    return *number == 0 || *number == 1 ? std::optional<Value>(*number == 1) : std::nullopt;
  if (*number != std::floor(*number) || std::abs(*number) > kMostExact) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

}  // namespace

std::string text_of(const Values& values) {
  std::string line;
  for (const Value& value : values) line += (line.empty() ? "" : " ") + text_of(value);
  return line;
}

bool replaces(const Values& newer, const Values& older) {
  if (newer.size() != older.size()) return false;
  for (std::size_t i = 0; i + 1 < newer.size(); ++i) {
    if (!std::holds_alternative<double>(newer[i]) && newer[i] != older[i]) return false;
  }
  return true;
}

const AttributeInfo& find_attribute(const Info& info, const std::string& name) {
  std::string names;
  for (const AttributeInfo& one : info.attributes) {
    if (one.name == name) return one;
    names += (names.empty() ? "" : ", ") + one.name;
  }
  throw Error(info.name + " has no attribute " + in_quotes(name) +
              (names.empty() ? ", nor any other" : ": there is " + names));
}

Values fitted(const AttributeInfo& attribute, const Values& values) {
  std::string types;
  Values all;
  for (std::size_t i = 0; i < attribute.types.size(); ++i) {
    types += std::string(" ") + kTypes.at(static_cast<std::size_t>(attribute.types[i]));
    if (i >= values.size()) continue;
    if (auto value = fitted(attribute.types[i], values[i])) all.push_back(std::move(*value));
  }
  if (values.size() != attribute.types.size() || all.size() != values.size()) {
    throw Error("attribute " + attribute.name + ": expects" + (types.empty() ? " nothing" : types) + ", got " +
                (values.empty() ? "nothing" : text_of(values)));
  }
  return all;
}

}  // namespace ravel
