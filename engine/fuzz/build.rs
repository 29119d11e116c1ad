//! The instrumented preload library reports its coverage to the fuzzer it is loaded into.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-rdynamic");
}
