// Values for the attributes of a script, made fit for what it declares.
#pragma once

#include <string>

#include "ravel/model.h"

namespace ravel {

// Throws Error, listing the attributes that there are.
const AttributeInfo& find_attribute(const Info& info, const std::string& name);

// The same values in the declared types: whole numbers count as integers, 0 and 1 as booleans, integers as numbers.
// Throws Error naming the attribute, its types and the values.
Values fitted(const AttributeInfo& attribute, const Values& values);

// Whether a call leaves nothing of an earlier one of the same attribute: where all but their last values are equal,
// numbers aside (`scale 3 0.5` and `scale 3 1`).
bool replaces(const Values& newer, const Values& older);

std::string text_of(const Values& values);

}  // namespace ravel
