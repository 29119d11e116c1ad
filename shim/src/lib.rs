//! `libpgmshim.so`: PGM sockets for unmodified programs.
