// Classes, attributes and objects of the stand-in for the Max SDK.
#pragma once

#include "ext.h"

#define CLASS_BOX gensym("box")

extern "C" {
t_class* class_new(const char* name, method make, method destroy, long size, method menu, short type, ...);
t_max_err class_addmethod(t_class* in, method function, const char* name, ...);
t_max_err class_addattr(t_class* in, t_object* attribute);
t_max_err class_attr_addattr_parse(t_class* in, const char* name, const char* what, t_symbol* type, long flags,
                                   const char* text);
t_max_err class_attr_addattr_format(t_class* in, const char* name, const char* what, t_symbol* type, long flags,
                                    const char* format, ...);
t_max_err class_register(t_symbol* space, t_class* in);

t_object* attribute_new(const char* name, t_symbol* type, long flags, method get, method set);
long attr_args_offset(short count, t_atom* list);
void attr_args_process(void* object, short count, t_atom* list);

void* object_alloc(t_class* of);
t_max_err object_free(void* object);
void object_obex_store(void* object, t_symbol* key, t_object* value);
t_max_err object_attr_touch(t_object* object, t_symbol* name);
void* object_method_imp(void* object, t_symbol* word, void* a, void* b, void* c, void* d);
}

// In the SDK a macro that turns every argument into a pointer.
template <class... Arguments>
void* object_method(void* object, t_symbol* word, Arguments... arguments) {
  void* list[4] = {(void*)(arguments)...};
  return object_method_imp(object, word, list[0], list[1], list[2], list[3]);
}
