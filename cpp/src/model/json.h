// JSON from a stranger as plain values: bounded depth and count, no key twice, integers kept apart from floats.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ravel::json {

struct Member;

struct Value {
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, std::vector<Value>, std::vector<Member>> data;

  template <typename T>
  const T* as() const noexcept {
    return std::get_if<T>(&data);
  }
  const std::vector<Value>* array() const noexcept { return as<std::vector<Value>>(); }
  const std::vector<Member>* object() const noexcept { return as<std::vector<Member>>(); }

  // Of an object, by name; null where this is no object or lacks the key.
  const Value* find(std::string_view key) const noexcept;
};

struct Member {  // sorted by key within an object
  std::string key;
  Value value;
};

// Throws Error, which starts with `what` and says at which byte the text stops being JSON.
Value parse(std::string_view text, const std::string& what);

}  // namespace ravel::json
