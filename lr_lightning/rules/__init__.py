"""Pure rules: numbers in, decisions out. They import neither torch nor lightning."""
