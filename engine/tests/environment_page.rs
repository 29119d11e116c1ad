//! `docs/environment.md` is the table of `driver::env`, rendered. `UPDATE=1 cargo test environment_page` rewrites it.
#![cfg(feature = "net")]
#![allow(clippy::unwrap_used)]

use pgm_engine::driver::env::VARIABLES;
use std::fmt::Write;

#[test]
fn environment_page_is_current() {
    let mut page = String::from(
        "# Environment\n\nDefaults for programs that set no option, read when the first PGM socket of a process is made. A value nobody\n\
         understands makes `socket` fail with `EINVAL` and is named on standard error.\n\n\
         | variable | values | meaning |\n|---|---|---|\n",
    );
    for v in VARIABLES {
        writeln!(page, "| `{}` | {} | {} |", v.name, v.values, v.help).unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/environment.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let on_disk = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(on_disk, page, "run UPDATE=1 cargo test environment_page");
}
