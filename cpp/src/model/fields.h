// The fields of a JSON object, each asked for by name and checked: missing, of another kind, out of bounds, unknown.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"

namespace ravel {

class Fields {
 public:
  // `where` starts every message. Throws Error when the value is no object; so does every call for a bad field.
  Fields(const json::Value& value, std::string where);

  void rename(std::string where) { where_ = std::move(where); }
  const std::string& where() const noexcept { return where_; }

  bool has(std::string_view key) const;
  const json::Value& at(std::string_view key);
  int integer(std::string_view key, int low, int high);
  float number(std::string_view key);
  const std::string& text(std::string_view key);
  const std::vector<json::Value>& array(std::string_view key);
  Fields object(std::string_view key);

  // Throws for a field that was never asked for: its meaning would be lost.
  void finish() const;

  [[noreturn]] void refuse(const std::string& why) const;

 private:
  const json::Value& value_;
  std::string where_;
  std::vector<std::string_view> asked_;
};

// As Fields does, for a value of an array.
int integer(const json::Value& value, const std::string& what, int low, int high);
float number(const json::Value& value, const std::string& what);

}  // namespace ravel
