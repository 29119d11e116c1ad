//! Makes the exported symbols exactly those of `exports.map`.

fn main() {
    // Asked when it runs: a target directory may be used again from a clone that was moved.
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it for build scripts");
    let map = format!("{directory}/exports.map");
    println!("cargo:rerun-if-changed={map}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={map}");
    // Its thread and its handlers stay when a program that has opened it closes it.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
