//! Empty: the module is the dependency `kryoptic`, built by `./build`.
