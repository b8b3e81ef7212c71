"""C tests of `ext/core` and the harness that compiles and runs them."""
