// A stand-in for the Max SDK: the types and calls that ravel~ uses, declared anew from their public documentation.
//
// Nothing here is the SDK's text, and no layout or value has to equal Max's: the external is compiled against either
// one, never against both. signatures.cpp says what both have to agree in.
#pragma once

#include <cstddef>
#include <cstdint>

#define C74_EXPORT __attribute__((visibility("default")))

using t_ptr_int = std::intptr_t;
using t_atom_long = std::intptr_t;
using t_max_err = t_atom_long;
using t_fourcc = std::uint32_t;
using method = void* (*)(void*, ...);

enum { MAX_ERR_NONE = 0, MAX_ERR_GENERIC = -1 };
enum { A_LONG = 1, A_FLOAT, A_SYM, A_GIMME = 8, A_CANT };
enum { ASSIST_INLET = 1, ASSIST_OUTLET = 2 };
enum { MAX_PATH_CHARS = 2048 };

struct t_class;
struct t_object {
  t_class* of;
};
struct t_symbol {
  const char* s_name;
};
struct t_atom {
  short type;
  union {
    t_atom_long whole;
    double number;
    t_symbol* word;
  };
};
struct t_clock;
struct t_qelem;

extern "C" {
t_symbol* gensym(const char* name);

long atom_gettype(const t_atom* atom);
double atom_getfloat(const t_atom* atom);
t_symbol* atom_getsym(const t_atom* atom);
t_max_err atom_setlong(t_atom* atom, t_atom_long value);
t_max_err atom_setfloat(t_atom* atom, double value);
t_max_err atom_setsym(t_atom* atom, t_symbol* value);
t_max_err atom_alloc(long* count, t_atom** list, char* allocated);

void* outlet_new(void* object, const char* kind);
void* outlet_anything(void* outlet, t_symbol* word, short count, t_atom* list);

t_clock* clock_new(void* object, method function);
void clock_fdelay(void* clock, double ms);
t_qelem* qelem_new(void* object, method function);
void qelem_set(t_qelem* element);
void qelem_free(t_qelem* element);
void* defer(void* object, method function, t_symbol* word, short count, t_atom* list);

short locatefile_extended(char* name, short* folder, t_fourcc* type, const t_fourcc* types, short type_count);
t_max_err path_toabsolutesystempath(short folder, const char* name, char* path);
short open_dialog(char* name, short* folder, t_fourcc* type, t_fourcc* types, short type_count);

void object_post(t_object* object, const char* format, ...);
void object_error(t_object* object, const char* format, ...);
}
