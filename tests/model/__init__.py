"""Models of the native side's concurrent structures, explored in every order that is allowed."""
