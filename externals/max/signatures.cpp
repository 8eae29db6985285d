// What ravel~ takes for granted of the Max SDK, as assertions: compiled against the SDK and against the stand-in of the
// tests, so that neither drifts from the other unseen.
#include <type_traits>
#include <utility>

#include "ext.h"
#include "ext_obex.h"
#include "z_dsp.h"

namespace {

// A call with these arguments gives this type; macros of the SDK count too.
#define RAVEL_GIVES(RESULT, ...) static_assert(std::is_same_v<decltype(__VA_ARGS__), RESULT>, #__VA_ARGS__)
#define RAVEL_CALLS(...) static_assert(sizeof(decltype(__VA_ARGS__, 0)) > 0, #__VA_ARGS__)
#define RAVEL_POINTER(...) static_assert(std::is_pointer_v<decltype(__VA_ARGS__)>, #__VA_ARGS__)

template <class T>
T any() noexcept;

using Text = const char*;

RAVEL_GIVES(t_symbol*, gensym(any<Text>()));
RAVEL_GIVES(t_class*, class_new(any<Text>(), any<method>(), any<method>(), 1L, any<method>(), A_GIMME, 0));
RAVEL_CALLS(class_addmethod(any<t_class*>(), any<method>(), any<Text>(), A_CANT, 0));
RAVEL_CALLS(class_addattr(any<t_class*>(), any<t_object*>()));
RAVEL_CALLS(class_attr_addattr_parse(any<t_class*>(), any<Text>(), any<Text>(), any<t_symbol*>(), 0L, any<Text>()));
RAVEL_CALLS(class_attr_addattr_format(any<t_class*>(), any<Text>(), any<Text>(), any<t_symbol*>(), 0L, any<Text>(),
                                      any<t_symbol*>()));
RAVEL_CALLS(class_register(CLASS_BOX, any<t_class*>()));
RAVEL_CALLS(class_dspinit(any<t_class*>()));
RAVEL_GIVES(t_object*, attribute_new(any<Text>(), any<t_symbol*>(), 0L, any<method>(), any<method>()));
RAVEL_GIVES(long, attr_args_offset(any<short>(), any<t_atom*>()));
RAVEL_CALLS(attr_args_process(any<void*>(), any<short>(), any<t_atom*>()));

RAVEL_POINTER(object_alloc(any<t_class*>()));
RAVEL_CALLS(object_free(any<void*>()));
RAVEL_CALLS(object_obex_store(any<void*>(), any<t_symbol*>(), any<t_object*>()));
RAVEL_CALLS(object_attr_touch(any<t_object*>(), any<t_symbol*>()));
RAVEL_CALLS(object_post(any<t_object*>(), any<Text>(), any<Text>()));
RAVEL_CALLS(object_error(any<t_object*>(), any<Text>(), any<Text>()));
RAVEL_GIVES(void*,
            object_method(any<t_object*>(), any<t_symbol*>(), any<void*>(), any<void*>(), any<void*>(), any<void*>()));

RAVEL_POINTER(outlet_new(any<void*>(), any<Text>()));
RAVEL_CALLS(outlet_anything(any<void*>(), any<t_symbol*>(), any<short>(), any<t_atom*>()));
RAVEL_POINTER(clock_new(any<void*>(), any<method>()));
RAVEL_CALLS(clock_fdelay(any<void*>(), 10.0));
RAVEL_POINTER(qelem_new(any<void*>(), any<method>()));
RAVEL_CALLS(qelem_set(any<t_qelem*>()));
RAVEL_CALLS(qelem_free(any<t_qelem*>()));
RAVEL_CALLS(defer(any<void*>(), any<method>(), any<t_symbol*>(), any<short>(), any<t_atom*>()));

RAVEL_GIVES(short, locatefile_extended(any<char*>(), any<short*>(), any<t_fourcc*>(), nullptr, 0));
RAVEL_CALLS(path_toabsolutesystempath(any<short>(), any<Text>(), any<char*>()) == 0);
RAVEL_GIVES(short, open_dialog(any<char*>(), any<short*>(), any<t_fourcc*>(), nullptr, 0));

RAVEL_CALLS(atom_gettype(any<const t_atom*>()) == A_SYM);
RAVEL_CALLS(double{atom_getfloat(any<const t_atom*>())});
RAVEL_GIVES(t_symbol*, atom_getsym(any<const t_atom*>()));
RAVEL_CALLS(atom_setlong(any<t_atom*>(), t_atom_long{1}));
RAVEL_CALLS(atom_setfloat(any<t_atom*>(), 1.0));
RAVEL_CALLS(atom_setsym(any<t_atom*>(), any<t_symbol*>()));
RAVEL_CALLS(atom_alloc(any<long*>(), any<t_atom**>(), any<char*>()));

RAVEL_CALLS(dsp_setup(any<t_pxobject*>(), 1L));
RAVEL_CALLS(dsp_free(any<t_pxobject*>()));

static_assert(std::is_standard_layout_v<t_pxobject>, "an object of Max starts with it");
static_assert(std::is_same_v<decltype(std::declval<t_symbol>().s_name[0]), char&> ||
                  std::is_same_v<decltype(std::declval<t_symbol>().s_name[0]), const char&>,
              "symbols carry their text");
static_assert(sizeof(t_atom_long) == 8 && sizeof(t_ptr_int) == sizeof(void*), "64-bit Max");
static_assert(std::is_convertible_v<decltype(MAX_ERR_NONE), t_max_err> && MAX_ERR_NONE == 0 && MAX_ERR_GENERIC != 0);
static_assert(ASSIST_INLET != ASSIST_OUTLET && MAX_PATH_CHARS >= 1024);
static_assert((Z_NO_INPLACE & Z_MC_INLETS) == 0 && Z_NO_INPLACE != 0 && Z_MC_INLETS != 0, "two flags");
static_assert(A_CANT != A_GIMME && A_SYM != A_FLOAT && A_SYM != A_LONG);

}  // namespace
