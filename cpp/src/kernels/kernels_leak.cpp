// Proof that check_symbols.cmake can fail: an inline function and a template that leave their unit. Linked nowhere.
namespace ravel::kernels {

inline int leaked(int x) { return x + 1; }

template <class T>
T leaked_template(T x) {
  return x + leaked(1);
}

int leak(int x) { return leaked_template(x); }

}  // namespace ravel::kernels
