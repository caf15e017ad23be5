"""The four stages of CLAD, a module each; arrays cross the border between them."""
