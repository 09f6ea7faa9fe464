"""A package, so that no `tests` of another distribution hides it: latex2sympy2 installs one."""
