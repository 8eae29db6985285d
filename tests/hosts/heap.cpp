// [heap] for Pure Data: a bang prints the bytes that the C library has given out. With MALLOC_ARENA_MAX=1 that is all.
#include <m_pd.h>
#include <malloc.h>

namespace {

t_class* heap_class = nullptr;

void* make() { return pd_new(heap_class); }

void bang(t_object*) {
  const struct mallinfo2 info = mallinfo2();
  post("heap: %zu", info.uordblks + info.hblkhd);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void heap_setup() {
  heap_class =
      class_new(gensym("heap"), reinterpret_cast<t_newmethod>(make), nullptr, sizeof(t_object), CLASS_DEFAULT, A_NULL);
  class_addbang(heap_class, reinterpret_cast<t_method>(bang));
}
